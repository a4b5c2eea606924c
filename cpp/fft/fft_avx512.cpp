// fft/fft_avx512.cpp -- the transform kernels, AVX-512
#include "fft/table.inl.hpp"

namespace omniconv::fft::avx512 {

const AllKernels& fft_kernels() {
  static const AllKernels table = all_kernels();
  return table;
}

}  // namespace omniconv::fft::avx512
