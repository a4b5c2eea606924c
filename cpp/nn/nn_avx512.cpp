// nn/nn_avx512.cpp -- the kernels of the nn family, AVX-512
#include "nn/rows.inl.hpp"

namespace omniconv::nn::avx512 {

const Kernels& nn_kernels() {
  static constexpr Kernels table = make_kernels();
  return table;
}

}  // namespace omniconv::nn::avx512
