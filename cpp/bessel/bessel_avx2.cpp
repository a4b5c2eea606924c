// bessel/bessel_avx2.cpp -- the Bessel kernels, avx2
#include "bessel/kernels.inl.hpp"

namespace omniconv::bessel::avx2 {

const Kernels& bessel_kernels() {
  static constexpr Kernels table = {run_batch<f32>, run_batch<f64>};
  return table;
}

}  // namespace omniconv::bessel::avx2
