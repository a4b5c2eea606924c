// nn/nn_avx2.cpp -- the kernels of the nn family, AVX2+FMA
#include "nn/rows.inl.hpp"

namespace omniconv::nn::avx2 {

const Kernels& nn_kernels() {
  static constexpr Kernels table = make_kernels();
  return table;
}

}  // namespace omniconv::nn::avx2
