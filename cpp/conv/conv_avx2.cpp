// conv/conv_avx2.cpp -- the dense kernels, AVX2 + FMA
#include "conv/kernels.inl.hpp"

namespace omniconv::conv::avx2 {

const Kernels& conv_kernels() {
  static const Kernels table = make_kernels<6, 6>(32);  // 6 x 2 + 2 + 1 of 16 registers; two FMA of 8 lanes a cycle
  return table;
}

}  // namespace omniconv::conv::avx2
