// omniconv/nn.hpp -- what models need beside convolution: norms, sums and factors of channels, pools, on rows
//
// Rows hold the channels of one position side by side: [rows, C], images [N, P, C] with their P positions flattened, or
// [N, H, W, C]. Channels must be adjacent (stride 1); the other strides may be any, also of parts of wider rows.
// Arrays are float32, or all float64, which the plain reference computes. An output may be an input, but for pools.
#pragma once

#include "omniconv/options.hpp"
#include "omniconv/tensor.hpp"

namespace omniconv {

// y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias for every row of x [rows, C]; weight and bias are [C], and may
// be left undefined. With `centred` false, mean is taken as 0: RMS norm.
OMNICONV_API void layer_norm(const TensorView& x, const TensorView& weight, const TensorView& bias, double eps,
                             bool centred, const TensorView& y);

// y[n, c] = the sum over positions of x[n, p, c], or of its squares.
OMNICONV_API void channel_sums(const TensorView& x, bool squares, const TensorView& y);

// y[n, p, c] = x[n, p, c] * scale[n, c] + shift[n, c]. Both factors are [N, C] or [1, C], and may be left undefined.
OMNICONV_API void channel_affine(const TensorView& x, const TensorView& scale, const TensorView& shift,
                                 const TensorView& y);

// y[n, p, c] = x[n, p, c] * s[n, c] with s = excite(w2 squeeze(w1 mean_p(x) + bias1) + bias2): squeeze-and-excitation
// (Hu et al., arXiv:1709.01507). w1 is [H, C], w2 [C, H]; biases may be left undefined.
struct SqueezeExcite {
  TensorView w1, bias1;
  Activation squeeze = Activation::relu;
  TensorView w2, bias2;
  Activation excite = Activation::sigmoid;
};
OMNICONV_API void squeeze_excite(const TensorView& x, const SqueezeExcite& weights, const TensorView& y);

// y = a * b, [rows, C] each.
OMNICONV_API void multiply_rows(const TensorView& a, const TensorView& b, const TensorView& y);

// y = activation(x), contiguous [size] each.
OMNICONV_API void activate(const TensorView& x, Activation activation, float negative_slope, const TensorView& y);

// The largest element of every window of x [N, H, W, C]: output i begins at i * stride - padding, and elements outside
// never win; a window holds at least one inside. NaN wins.
struct PoolWindow {
  int64_t kernel[2], stride[2], padding[2];
};
OMNICONV_API void max_pool2d(const TensorView& x, const PoolWindow& window, const TensorView& y);

}  // namespace omniconv
