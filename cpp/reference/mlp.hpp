// reference/mlp.hpp -- the MLP block pixel by pixel in float64: the oracle, and what float64 runs on
#pragma once

#include "omniconv/mlp.hpp"

namespace omniconv::reference {

// Arguments already checked; float64, strides free.
void mlp(const MlpDesc& desc, const MlpWeights& weights, const TensorView& x, const TensorView& residual,
         const TensorView& out);

}  // namespace omniconv::reference
