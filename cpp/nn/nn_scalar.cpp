// nn/nn_scalar.cpp -- the kernels of the nn family, any CPU
#include "nn/rows.inl.hpp"

namespace omniconv::nn::scalar {

const Kernels& nn_kernels() {
  static constexpr Kernels table = make_kernels();
  return table;
}

}  // namespace omniconv::nn::scalar
