// fft/fft_avx2.cpp -- the transform kernels, AVX2 + FMA
#include "fft/table.inl.hpp"

namespace omniconv::fft::avx2 {

const AllKernels& fft_kernels() {
  static const AllKernels table = all_kernels();
  return table;
}

}  // namespace omniconv::fft::avx2
