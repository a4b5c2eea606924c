// core/activation.cuh -- the activations of every epilogue, in float or double
#pragma once

#include "omniconv/options.hpp"
#include "prim/platform.cuh"

namespace omniconv::cuda {

template <class T>
__device__ inline T sigmoid(T x) {
  return T(1) / (T(1) + exp(-x));
}

// The same at infinities and NaN as the CPU: minus infinity times 0 is NaN in silu, gelu and hardswish.
// Not inlined: in a kernel with 64 sums a thread, 64 copies of erfc and its kin take ptxas minutes.
template <class T>
__device__ OMNICONV_NOINLINE T activate(Activation activation, T x, T slope) {
  if (isnan(x)) return x;
  switch (activation) {
    case Activation::none: return x;
    case Activation::relu: return x > T(0) ? x : T(0);
    case Activation::relu6: return x > T(6) ? T(6) : x > T(0) ? x : T(0);
    case Activation::leaky_relu: return x > T(0) ? x : slope * x;
    case Activation::silu: return x * sigmoid(x);
    case Activation::gelu: return T(0.5) * x * erfc(-x * T(0.70710678118654752440));
    case Activation::gelu_tanh: {
      const T u = T(0.79788456080286535588) * (x + T(0.044715) * x * x * x);
      return T(0.5) * x * (T(1) + tanh(u));
    }
    case Activation::quick_gelu: return x * sigmoid(T(1.702) * x);
    case Activation::hardswish: {
      const T gate = x + T(3);
      return x * ((gate < T(0) ? T(0) : gate > T(6) ? T(6) : gate) / T(6));
    }
    case Activation::sigmoid: return sigmoid(x);
    case Activation::tanh: return tanh(x);
  }
  return x;
}

}  // namespace omniconv::cuda
