// nn/nn_neon.cpp -- the kernels of the nn family, NEON
#include "nn/rows.inl.hpp"

namespace omniconv::nn::neon {

const Kernels& nn_kernels() {
  static constexpr Kernels table = make_kernels();
  return table;
}

}  // namespace omniconv::nn::neon
