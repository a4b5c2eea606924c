// reference/nn.hpp -- the nn family element by element in float64: the oracle, and what float64 runs on
#pragma once

#include "omniconv/nn.hpp"

namespace omniconv::reference {

// Arguments as those of the functions of omniconv/nn.hpp, already checked; float64.
void layer_norm(const TensorView& x, const TensorView& weight, const TensorView& bias, double eps, bool centred,
                const TensorView& y);
void channel_sums(const TensorView& x, bool squares, const TensorView& y);
void channel_affine(const TensorView& x, const TensorView& scale, const TensorView& shift, const TensorView& y);
void squeeze_excite(const TensorView& x, const SqueezeExcite& weights, const TensorView& y);
void multiply_rows(const TensorView& a, const TensorView& b, const TensorView& y);
void activate(const TensorView& x, Activation activation, float negative_slope, const TensorView& y);
void max_pool2d(const TensorView& x, const PoolWindow& window, const TensorView& y);

}  // namespace omniconv::reference
