// omniconv/mlp.hpp -- two pointwise products and what surrounds them in one pass: the MLP, the ConvNeXt block,
// ConvFirst
//
//   y = scale2 * W2 h + bias2 + residual,   h = activation(scale1 * W1 norm(f(x)) + bias1)
// at every pixel of x [N, C, *spatial]; f is a convolution or nothing, norm a layer norm over channels or nothing. h,
// often four times as wide as x, lives in cache only: a tile of pixels goes through all of it before the next begins
// (A. Lavin, "On the Efficiency of Convolutional Neural Networks", arXiv:2404.03617).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "omniconv/conv.hpp"

namespace omniconv {

struct MlpDesc {
  std::vector<int64_t> x_shape{};  // [N, C] or [N, C, *spatial]
  int64_t hidden = 0;              // channels of h
  int64_t channels = 0;            // of y
  DType dtype = DType::float32;    // float64 runs on the reference
  // f: two spatial axes, padding with zeros, no activation; what it says of x must be what is said here.
  std::optional<ConvDesc> conv{};
  bool norm = false;
  double eps = 1e-6;  // of the norm
  Activation activation = Activation::gelu;
  double negative_slope = 0.01;  // of leaky_relu
};

// W1 is [hidden, C of f(x)], W2 [channels, hidden], all others but conv have one axis; undefined views are left out.
struct MlpWeights {
  TensorView conv{}, conv_bias{}, conv_scale{};
  TensorView norm_weight{}, norm_bias{};
  TensorView w1{}, bias1{}, scale1{};
  TensorView w2{}, bias2{}, scale2{};
};

// Immutable once made; `run` is re-entrant. The bits are those of the operations one by one, whatever the threads, the
// batch, and the tiles. CPU only.
class OMNICONV_API MlpPlan {
 public:
  // Copies and packs all weights. Throws Error naming the argument that does not fit.
  MlpPlan(const MlpDesc& desc, const MlpWeights& weights);
  ~MlpPlan();
  MlpPlan(MlpPlan&&) noexcept;
  MlpPlan& operator=(MlpPlan&&) noexcept;

  // x [N, C, *spatial], residual and out [N, channels, *spatial of f(x)]: channels adjacent, pixels evenly spaced but
  // for x under a convolution, whose strides are free. `residual` may be undefined; out overlaps neither.
  void run(const TensorView& x, const TensorView& residual, const TensorView& out) const;

  const MlpDesc& desc() const;
  std::vector<int64_t> output_shape() const;
  size_t workspace_bytes() const;  // with the current number of threads
  size_t packed_bytes() const;
  double flops() const;  // of convolution and products, 2 per multiply-add

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace omniconv
