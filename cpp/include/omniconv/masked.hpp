// omniconv/masked.hpp -- convolution of images of which some cells are hidden
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "omniconv/conv.hpp"

namespace omniconv {

// Images cut into rows x columns cells of one size, in every resolution: not 0 for a cell that is seen.
// Dense, [batch, rows, columns].
struct CellMask {
  const uint8_t* seen = nullptr;
  int64_t batch = 0, rows = 0, columns = 0;
};

// The convolution that `desc` describes, of two spatial axes, with zeros for what is hidden of its operands and of its
// result; `mask` has to divide the sizes of both x and y:
//   forward      y = mask * activation(scale * conv(mask * x) + bias + residual)
//   grad_input   dx = mask * grad_input(mask * grad)
//   grad_weight  dw = grad_weight(mask * grad, mask * x)
// Work is that of the cells that are seen, in float32 with borders of zeros. The rest is computed densely between
// masks: float64, other borders, gradients of more than one cell whose sizes the stride does not divide or of
// one channel per group with a stride (of x) or any (of the weights).
OMNICONV_API void masked_convolve(const ConvDesc& desc, const CellMask& mask, const ConvOperands& operands);

// The same for masks that change: what does not depend on them is done once, and weights are packed once. Immutable
// once made; `run` is re-entrant.
class OMNICONV_API MaskedConvPlan {
 public:
  // For masks of so many rows and columns of cells.
  MaskedConvPlan(const ConvDesc& desc, int64_t rows, int64_t columns);
  ~MaskedConvPlan();
  MaskedConvPlan(MaskedConvPlan&&) noexcept;
  MaskedConvPlan& operator=(MaskedConvPlan&&) noexcept;

  // Packs the weights once; later runs need no `b`.
  void pack(const TensorView& weight);
  void run(const CellMask& mask, const ConvOperands& operands) const;

  const ConvDesc& desc() const;
  std::vector<int64_t> output_shape() const;
  std::string algorithm() const;  // "masked_depthwise", "dense", or "blocks, " and the dense algorithm that they take

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace omniconv
