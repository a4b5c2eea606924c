// sparse/masked_cells.cpp -- cells of images: read as blocks, and cleared
#include <algorithm>
#include <cstring>

#include "conv/kernels.hpp"
#include "core/thread_pool.hpp"
#include "sparse/masked.hpp"

namespace omniconv::sparse {
namespace {

constexpr int64_t kPiece = 512;  // pixels

// body(begin, end, seen) for the runs of elements [begin, end) of one row of cells that are all seen or all hidden.
template <class Body>
void each_run(const CellMask& mask, int64_t n, int64_t row, int64_t cell, int64_t begin, int64_t end, Body&& body) {
  while (begin < end) {
    int64_t column = begin / cell;
    const bool seen = is_seen(mask, n, row, column);
    while (++column * cell < end && is_seen(mask, n, row, column) == seen) {
    }
    const int64_t until = std::min(end, column * cell);
    body(begin, until, seen);
    begin = until;
  }
}

template <class T>
void clear(const TensorView& v, const CellMask& mask) {
  const int64_t h = v.shape[2] / mask.rows, w = v.shape[3] / mask.columns, channels = v.shape[1];
  const int64_t sc = v.strides[1], sw = v.strides[3];
  parallel_for(v.shape[0] * mask.rows, [&](int64_t task, int) {
    const int64_t n = task / mask.rows, row = task % mask.rows;
    T* line = static_cast<T*>(v.data) + n * v.strides[0] + row * h * v.strides[2];
    for (int64_t i = 0; i < h; ++i, line += v.strides[2])
      each_run(mask, n, row, w, 0, v.shape[3], [&](int64_t begin, int64_t end, bool seen) {
        if (seen) return;
        if (sc == 1 && sw == channels) return void(std::fill_n(line + begin * sw, (end - begin) * channels, T(0)));
        for (int64_t c = 0; c < channels; ++c)
          for (int64_t j = begin; j < end; ++j) line[c * sc + j * sw] = T(0);
      });
  });
}

}  // namespace

std::vector<Cell> seen_cells(const CellMask& m) {
  std::vector<Cell> cells;
  for (int64_t n = 0; n < m.batch; ++n)
    for (int64_t row = 0; row < m.rows; ++row)
      for (int64_t column = 0; column < m.columns; ++column)
        if (is_seen(m, n, row, column)) cells.push_back({n, row, column});
  return cells;
}

void gather_block(const Images& from, const CellMask& mask, const Side (&sides)[2], Cell cell, int64_t first,
                  int64_t count, int64_t step, float* to) {
  const Side &h = sides[0], &w = sides[1];
  const int64_t top = h.first + cell.row * h.step, left = w.first + cell.column * w.step;
  const int64_t begin = std::clamp<int64_t>(left, 0, w.size), end = std::clamp<int64_t>(left + w.extent, begin, w.size);
  const auto zeros = [step](float* at, int64_t pixels) { std::memset(at, 0, size_t(pixels * step) * sizeof(float)); };
  for (int64_t i = 0; i < h.extent; ++i, to += w.extent * step) {
    const int64_t y = top + i;
    if (y < 0 || y >= h.size || begin == end) {
      zeros(to, w.extent);
      continue;
    }
    zeros(to, begin - left);
    zeros(to + (end - left) * step, left + w.extent - end);
    const float* line = from.data + cell.n * from.strides.n + first * from.strides.c + y * from.strides.axis[1];
    each_run(mask, cell.n, y / h.cell, w.cell, begin, end, [&](int64_t a, int64_t b, bool seen) {
      float* dst = to + (a - left) * step;
      if (!seen) return zeros(dst, b - a);
      conv::PackArgs args{};
      args.src = line + a * from.strides.axis[2];
      args.row_stride = from.strides.c, args.column_stride = from.strides.axis[2];
      args.rows = count, args.columns = b - a;
      args.dst = &dst, args.copies = 1, args.dst_stride = step;
      conv::kernels().pack(args);
    });
  }
}

TensorView channels_innermost(const TensorView& v, std::optional<ScopedWorkspace>& room) {
  if (v.strides[1] == 1 || v.shape[1] == 1) return v;
  float* const data = static_cast<float*>(room.emplace(size_t(v.size()) * sizeof(float)).data());
  const int order[] = {0, 3, 1, 2};
  const int64_t channels = v.shape[1], h = v.shape[2], w = v.shape[3];
  // Rows in one piece where they follow each other: pieces of whole vectors.
  const bool one = v.strides[2] == w * v.strides[3];
  const int64_t lines = one ? 1 : h, length = one ? h * w : w, pieces = (length + kPiece - 1) / kPiece;
  parallel_for(v.shape[0] * lines * pieces, [&](int64_t task, int) {
    const int64_t begin = task % pieces * kPiece, line = task / pieces % lines, n = task / pieces / lines;
    float* to = data + ((n * lines + line) * length + begin) * channels;
    conv::PackArgs args{};
    args.src = static_cast<const float*>(v.data) + n * v.strides[0] + line * v.strides[2] + begin * v.strides[3];
    args.row_stride = v.strides[1], args.column_stride = v.strides[3];
    args.rows = channels, args.columns = std::min(kPiece, length - begin);
    args.dst = &to, args.copies = 1, args.dst_stride = channels;
    conv::kernels().pack(args);
  });
  return TensorView(data, {v.shape[0], h, w, channels}).permuted(order);
}

void clear_hidden(const TensorView& images, const CellMask& mask) {
  images.dtype == DType::float64 ? clear<double>(images, mask) : clear<float>(images, mask);
}

}  // namespace omniconv::sparse
