// sparse/masked.hpp -- cells of images: which there are, how they are read and written, and what is done with them
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

// body(begin, end) for the runs of elements that are seen, or hidden, in one row of cells that are `width` wide.
template <bool SEEN = true, class Body>
void each_seen_run(const CellMask& m, int64_t n, int64_t row, int64_t width, Body&& body) {
  for (int64_t c = 0; c < m.columns; ++c) {
    if (is_seen(m, n, row, c) != SEEN) continue;
    const int64_t begin = c;
    while (c + 1 < m.columns && is_seen(m, n, row, c + 1) == SEEN) ++c;
    body(begin * width, (c + 1) * width);
  }
}
template <class Body>
void each_hidden_run(const CellMask& m, int64_t n, int64_t row, int64_t width, Body&& body) {
  each_seen_run<false>(m, n, row, width, body);
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

// What the epilogue has for all pixels. `room`: for bias and scale where they are not dense.
conv::FinishArgs finish_of(const ConvDesc& desc, const ConvOperands& o, AlignedBuffer (&room)[2]);

// Blocks of x and of y for a cell, and the convolution between them.
struct Blocks {
  Side x[2], y[2];
  conv::Axis axis[2];  // of the block's convolution
  int64_t hi[2], rest[2];
};
// Blocks of x with the border that the windows of a cell of y reach.
Blocks forward_blocks(const conv::Problem& p, const int64_t (&cells)[2]);
// Blocks of the gradient of y that a cell of x reaches; false where they differ from cell to cell.
bool input_blocks(const conv::Problem& p, const int64_t (&cells)[2], Blocks* b);

// The convolution of some blocks of images of so many cells. The others take it for as many as are seen; without
// weights in `o` its own ones are packed.
ConvPlan plan_blocks(const ConvDesc& desc, int64_t cells, const Blocks& b);
void convolve_blocks(const ConvDesc& desc, const CellMask& mask, const ConvOperands& o, const Blocks& b,
                     const ConvPlan& of_some);
void grad_weight_blocks(const ConvDesc& desc, const CellMask& mask, const ConvOperands& o, const Blocks& b,
                        const ConvPlan& of_some);

// Weights [C, 1, kh, kw] of one channel per group as [chunk of channels][tap][channel], taps by columns; zeros for
// channels that are not there. `flipped`: taps run backwards.
class DepthwiseWeights {
 public:
  DepthwiseWeights(const TensorView& weight, bool flipped);
  int64_t chunk() const { return chunk_; }
  // Of a channel's first tap; the taps are chunk() floats apart.
  const float* channel(int64_t c) const {
    return static_cast<const float*>(floats_.data()) + c / chunk_ * chunk_ * taps_ + c % chunk_;
  }

 private:
  int64_t chunk_, taps_;
  AlignedBuffer floats_;
};

// One channel per group: y = epilogue of the sums in the cells that are seen, zeros elsewhere.
struct MaskedDepthwise {
  const CellMask& mask;
  conv::Axis h, w;
  TensorView x;
  const DepthwiseWeights& weights;
  TensorView y;
  const conv::FinishArgs& finish;  // bias, scale, activation, and residual with its strides in `residual`
  const TensorView& residual;
};
bool masked_planes_fit(const MaskedDepthwise& problem);
void masked_planes(const MaskedDepthwise& problem);
bool masked_depthwise_fits(int64_t rows, const conv::Axis& h, const conv::Axis& w);
void masked_depthwise(const MaskedDepthwise& problem);

}  // namespace omniconv::sparse
