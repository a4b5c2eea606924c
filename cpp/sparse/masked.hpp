// sparse/masked.hpp -- cells of images: which there are, how they are read and written
#pragma once

#include <optional>
#include <vector>

#include "conv/kernels.hpp"
#include "conv/operands.hpp"
#include "core/workspace.hpp"
#include "omniconv/masked.hpp"

namespace omniconv::sparse {

struct Cell {
  int64_t n, row, column;
};

// One axis of an array of which a block of `extent` elements is read for every cell: that of cell i begins at
// first + i * step. The array's own cells are `cell` long.
struct Side {
  int64_t size, cell, first, step, extent;
};

// Images [N, C, H, W] by any strides.
struct Images {
  float* data;
  int64_t channels;
  conv::Strides strides;
  explicit Images(const TensorView& v)
      : data(static_cast<float*>(v.data)), channels(v.shape[1]), strides(conv::strides_of(v)) {}
};

inline bool is_seen(const CellMask& m, int64_t n, int64_t row, int64_t column) {
  return m.seen[(n * m.rows + row) * m.columns + column] != 0;
}

// body(begin, end) for the runs of elements that are seen in one row of cells that are `width` wide.
template <class Body>
void each_seen_run(const CellMask& m, int64_t n, int64_t row, int64_t width, Body&& body) {
  for (int64_t c = 0; c < m.columns; ++c) {
    if (!is_seen(m, n, row, c)) continue;
    const int64_t begin = c;
    while (c + 1 < m.columns && is_seen(m, n, row, c + 1)) ++c;
    body(begin * width, (c + 1) * width);
  }
}

std::vector<Cell> seen_cells(const CellMask& mask);

// Channels [first, first + count) of the block that `cell` reads, as [row][column][step floats]; zeros for what lies
// outside or is hidden.
void gather_block(const Images& from, const CellMask& mask, const Side (&sides)[2], Cell cell, int64_t first,
                  int64_t count, int64_t step, float* to);

// Images whose channels are adjacent: `v` itself, or a copy in `room`. A block picked from planes would read a few
// elements of every page.
TensorView channels_innermost(const TensorView& v, std::optional<ScopedWorkspace>& room);

// Zeros in hidden cells of h x w elements.
void clear_hidden(const TensorView& images, const CellMask& mask);

// One channel per group: y = epilogue of the sums in the cells that are seen, zeros elsewhere. `flipped`: taps run
// backwards.
struct MaskedDepthwise {
  const CellMask& mask;
  conv::Axis h, w;
  TensorView x, weight, y;  // weight [C, 1, kh, kw]
  bool flipped;
  const conv::FinishArgs& finish;  // bias, scale, activation, and residual with its strides in `residual`
  const TensorView& residual;
};
bool masked_planes_fit(const MaskedDepthwise& problem);
void masked_planes(const MaskedDepthwise& problem);
bool masked_depthwise_fits(const CellMask& mask, const conv::Axis& h, const conv::Axis& w);
void masked_depthwise(const MaskedDepthwise& problem);

}  // namespace omniconv::sparse
