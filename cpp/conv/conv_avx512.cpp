// conv/conv_avx512.cpp -- the dense kernels, AVX-512
#include "conv/kernels.inl.hpp"

namespace omniconv::conv::avx512 {

const Kernels& conv_kernels() {
  static const Kernels table = make_kernels<14, 14, 9, 6>(64);  // two FMA of 16 lanes a cycle
  return table;
}

}  // namespace omniconv::conv::avx512
