// fft/fft_neon.cpp -- the transform kernels, NEON
#include "fft/table.inl.hpp"

namespace omniconv::fft::neon {

const AllKernels& fft_kernels() {
  static const AllKernels table = all_kernels();
  return table;
}

}  // namespace omniconv::fft::neon
