// bessel/bessel_avx512.cpp -- the Bessel kernels, avx512
#include "bessel/kernels.inl.hpp"

namespace omniconv::bessel::avx512 {

const Kernels& bessel_kernels() {
  static constexpr Kernels table = {run_batch<f32>, run_batch<f64>};
  return table;
}

}  // namespace omniconv::bessel::avx512
