// fft/fft_scalar.cpp -- the transform kernels, the baseline
#include "fft/table.inl.hpp"

namespace omniconv::fft::scalar {

const AllKernels& fft_kernels() {
  static const AllKernels table = all_kernels();
  return table;
}

}  // namespace omniconv::fft::scalar
