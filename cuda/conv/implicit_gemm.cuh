// conv/implicit_gemm.cuh -- the operands of a convolution seen as a matrix product, fetched where they are
#pragma once

#include "conv/arguments.cuh"
#include "conv/tile.cuh"

namespace omniconv::cuda {

// Which tile of the result a block computes: tiles of columns are neighbours, so that they share the rows in the cache.
struct TilePlace {
  int row, column;  // of the first element
  int64_t group;
};

template <class Shape>
__device__ inline TilePlace tile_place(int64_t columns, int64_t groups) {
  const int per_group = int((columns + Shape::kColumns - 1) / Shape::kColumns), i = int(blockIdx.x);
  const int g = i / per_group % int(groups);
  return {i / per_group / int(groups) * Shape::kRows, i % per_group * Shape::kColumns, g};
}

template <class Shape>
int64_t tile_count(int64_t rows, int64_t columns, int64_t groups) {
  return (rows + Shape::kRows - 1) / Shape::kRows * ((columns + Shape::kColumns - 1) / Shape::kColumns) * groups;
}

// Rows of a forward problem are pixels, k runs over taps and channels.
struct PixelRows {
  const Arguments<float>& a;
  const float* x;
  Pixel at;
  bool inside;

  __device__ PixelRows(const Arguments<float>& a, int m, int64_t group) : a(a), at{}, inside(m < int(a.p.pixels())) {
    if (inside) at = pixel_of(a, m);
    x = a.x + at.n * a.xs.n + group * a.p.ci * a.xs.c;
  }
  template <int kCount>
  __device__ void fetch(int k, float (&values)[kCount]) const {
    Term term = term_of(a, k);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      int64_t from;
      values[i] = inside && k + i < int(a.p.k()) && source_of(a, at, term, &from) ? x[from + term.c * a.xs.c] : 0.0f;
      next_term(a, term);
    }
  }
};

// Its columns are output channels, from the packed weights.
struct WeightColumns {
  const Arguments<float>& a;
  const float* w;
  int columns;  // from w on

  __device__ WeightColumns(const Arguments<float>& a, int column, int64_t group)
      : a(a), w(a.weight + group * a.weight_group + column), columns(int(a.weight_row) - column) {}
  template <int kCount>
  __device__ void fetch(int k, float (&values)[kCount]) const {
    const bool inside = k < int(a.p.k());
    const float* from = w + int64_t(k) * a.weight_row;
#pragma unroll
    for (int j = 0; j < kCount; ++j) values[j] = inside && j < columns ? from[j] : 0.0f;
  }
};

// Rows of the gradient of the weights are elements of a window, k runs over pixels.
struct TermRows {
  const Arguments<float>& a;
  const float* x;
  Term term;
  int end;
  bool inside;

  __device__ TermRows(const Arguments<float>& a, int row, int64_t group, int end)
      : a(a), term{}, end(end), inside(row < int(a.p.k())) {
    if (inside) term = term_of(a, row);
    x = a.x + (group * a.p.ci + term.c) * a.xs.c;
  }
  template <int kCount>
  __device__ void fetch(int m, float (&values)[kCount]) const {
    Pixel at = pixel_of(a, m);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      int64_t from;
      values[i] = inside && m + i < end && source_of(a, at, term, &from) ? x[at.n * a.xs.n + from] : 0.0f;
      next_pixel(a, at);
    }
  }
};

// Its columns are output channels, from the gradient of the output.
struct GradColumns {
  const Arguments<float>& a;
  const float* y;
  int columns, end;

  __device__ GradColumns(const Arguments<float>& a, int column, int64_t group, int end)
      : a(a), y(a.y + (group * a.p.co + column) * a.ys.c), columns(int(a.p.co) - column), end(end) {}
  template <int kCount>
  __device__ void fetch(int m, float (&values)[kCount]) const {
    const float* from = m < end ? y + offset_of(a.ys, pixel_of(a, m)) : y;
#pragma unroll
    for (int j = 0; j < kCount; ++j) values[j] = m < end && j < columns ? from[j * a.ys.c] : 0.0f;
  }
};

// An operand whose k counts from `first` on.
template <class Operand>
struct Shifted {
  const Operand& operand;
  int first;
  template <int kCount>
  __device__ void fetch(int k, float (&values)[kCount]) const {
    operand.fetch(first + k, values);
  }
};
template <class Operand>
Shifted(const Operand&, int) -> Shifted<Operand>;

// The gradient of the weights cuts the pixels into parts, of a length that follows from the problem alone. Each part's
// sums go to the workspace, [part][group][term][channel], and are added in order of the parts.
struct Parts {
  int64_t count, pixels;  // of each part but the last, a multiple of kBlock
};

// `tiles`: blocks for one part. Enough parts for 512 blocks, a large GPU some four times over; none shorter than two
// blocks of sums.
inline Parts cut_pixels(const Problem& p, int64_t tiles) {
  constexpr int64_t kBlocksWished = 512, kMostParts = 64, kShortest = 2;
  const int64_t wished = (kBlocksWished + tiles - 1) / tiles, most = wished < kMostParts ? wished : kMostParts;
  const int64_t blocks = (p.pixels() + kBlock - 1) / kBlock, even = (blocks + most - 1) / most;
  const int64_t each = even > kShortest ? even : kShortest, count = (blocks + each - 1) / each;
  return {count > 0 ? count : 1, each * kBlock};
}

inline size_t parts_bytes(const Problem& p, const Parts& cut) {
  return size_t(cut.count * p.groups * p.k() * p.co) * sizeof(float);
}

// From the workspace to the weights of the call.
void add_parts(const DeviceCall& call, const Parts& cut);

template <class Shape>
void decline_many_tiles(const DeviceAsk* ask, DeviceMessage* message) {
  const Problem& p = *ask->problem;
  decline_large(p, message);
  if (tile_count<Shape>(ask->grad_weight ? p.k() : p.pixels(), p.co, p.groups) >= int64_t{1} << 30)
    say(message, "has more than 2^30 tiles");
}

}  // namespace omniconv::cuda
