// conv/blocks.hpp -- cutting a problem into tasks, and the product of one task
//
// A task is a block of pixels times a chunk of channel panels. The cut may follow the number of threads: an output
// is one fixed chain of multiply-adds whatever block it falls into, so results do not.
#pragma once

#include <cstddef>
#include <cstdint>

#include "conv/kernels.hpp"
#include "conv/problem.hpp"

namespace omniconv::conv {

// Long sums are cut every kSumBlock terms and the parts added: relative L2 error of K = 4608 normal terms
// 1.2e-6 in one chain, 4e-7 so. A block of b (512 x 64 floats, 128 KiB) stays in L2 while every tile of pixels uses it.
inline constexpr int64_t kSumBlock = 512;
// Pixels of a block: enough to read the weights from L3 only once per 256 pixels (0.5 byte per cycle and core),
// while its sums (256 x 64 floats, 64 KiB) stay in L2.
inline constexpr int64_t kBlockPixels = 256;
inline constexpr int64_t kMaxBlockPixels = 512;
inline constexpr int64_t kFewPixels = 64;  // below this a block would be all traffic of weights

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
// Both parts of a division, without one where that is easy.
struct Quotient {
  int64_t whole, rest;
};
inline Quotient split(int64_t a, int64_t b) {
  if (b == 1) return {a, 0};
  if (a < b) return {0, a};
  return {a / b, a % b};
}
inline size_t align64(size_t bytes) { return (bytes + 63) & ~size_t{63}; }

// `to` becomes so many items at `at`, which moves behind them; with `at` null at first this counts bytes.
template <class T>
void take(char*& at, T*& to, size_t items) {
  to = reinterpret_cast<T*>(at);
  at += align64(items * sizeof(T));
}

// Output channels of one group as panels of `width` channels, as few and as even as they can be: six vectors are 3 + 3
// where four are the most. The last panel may be narrower.
struct Panels {
  int64_t channels, lanes, width;
  Panels(int64_t channels, const Kernels& k) : channels(channels), lanes(k.lanes) {
    const int64_t vectors = std::max<int64_t>(ceil_div(channels, lanes), 1);
    width = lanes * ceil_div(vectors, ceil_div(vectors, k.tile_vectors));
  }
  int64_t count() const { return ceil_div(channels, width); }
  int64_t used(int64_t i) const { return i + 1 < count() ? width : channels - i * width; }
  int vectors(int64_t i) const { return int(ceil_div(used(i), lanes)); }
  // Rows of a tile that every panel has kernels for.
  int rows(const Kernels& k) const { return k.tile_rows[width / lanes]; }
  int64_t lanes_of(int64_t i) const { return vectors(i) * lanes; }
  // Floats of all panels with k rows; panel i starts at i * width * k.
  int64_t size(int64_t k) const { return ((count() - 1) * width + lanes_of(count() - 1)) * k; }
};

// A rectangle of output: `rows` rows (n, d, h flattened) of `columns` columns. Blocks of several rows take them whole,
// so the pixels of a block are consecutive.
struct BlockRange {
  int64_t id, group, first_row, rows, first_column, columns;
  int64_t pixels() const { return rows * columns; }
};

struct Partition {
  int64_t rows_per_block, columns_per_block, panels_per_chunk;
  int64_t row_blocks, column_blocks, chunks, tasks;
  int64_t max_pixels() const { return rows_per_block * columns_per_block; }
  BlockRange block(const Problem& p, int64_t task) const;
  int64_t first_panel(int64_t task) const { return task % chunks * panels_per_chunk; }
};

// `bytes_per_row(columns)`: memory a source needs for one row of so many output columns; `budget` bounds a block.
template <class BytesPerRow>
Partition partition(const Problem& p, const Panels& panels, int threads, size_t budget, BytesPerRow&& bytes_per_row);

// Where the windows of a block's pixels are: see TileArgs.
struct Windows {
  const float* const* rows;
  int64_t row_step, element_step, segment_length;
};

// Where a block's sums will go, if its pixels are evenly spaced there; y is null otherwise. Only a hint.
struct Destination {
  const float* y = nullptr;
  int64_t pixel = 0, channel = 0, channels = 0;
};
Destination destination_of(const Problem& p, const Operands& m, int64_t first_pixel, int64_t pixels,
                           int64_t first_channel, int64_t channels);

// c [pixels, panel] = windows * b, or c += that. `next`: what will be read after b, see TileArgs::later; or null.
void multiply_panel(const Kernels& kernels, const Windows& windows, int64_t pixels, int64_t k, int vectors,
                    const float* b, float* c, const Destination& destination, bool add = false,
                    const float* next = nullptr);

// Epilogue and store of channels [first_channel, +channels) (counted over all groups) of consecutive pixels.
void finish_block(const Kernels& kernels, const Problem& p, const Operands& m, int64_t first_pixel, int64_t pixels,
                  int64_t first_channel, int64_t channels, const float* c, int64_t panel);

// [panel][k][lanes] for every group from weights in any order; k runs over (kw, kd, kh, ci).
void pack_weights(const Kernels& kernels, const Problem& p, const float* weight, const WeightView& view, float* packed);
size_t packed_floats(const Kernels& kernels, const Problem& p);
// The same rounded up to whole cache lines: where an algorithm's own form of the weights begins.
inline size_t packed_floats_aligned(const Kernels& kernels, const Problem& p) {
  return align64(packed_floats(kernels, p) * 4) / 4;
}

// ---- inline ------------------------------------------------------------------------------------------------------

Partition cut(const Problem& p, const Panels& panels, int threads, int64_t rows_per_block, int64_t columns_per_block);

template <class BytesPerRow>
Partition partition(const Problem& p, const Panels& panels, int threads, size_t budget, BytesPerRow&& bytes_per_row) {
  int64_t columns = p.axis[2].out, rows = 1;
  while (columns > 1 && (columns > kMaxBlockPixels || bytes_per_row(columns) > budget)) columns = ceil_div(columns, 2);
  if (columns == p.axis[2].out) {
    rows = kBlockPixels / columns;
    const int64_t fit = int64_t(budget / (bytes_per_row(columns) + 1));
    if (rows > fit) rows = fit;
    if (rows > p.rows()) rows = p.rows();
    if (rows < 1) rows = 1;
  }
  return cut(p, panels, threads, rows, columns);
}

}  // namespace omniconv::conv
