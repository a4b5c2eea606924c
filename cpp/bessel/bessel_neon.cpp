// bessel/bessel_neon.cpp -- the Bessel kernels, neon
#include "bessel/kernels.inl.hpp"

namespace omniconv::bessel::neon {

const Kernels& bessel_kernels() {
  static constexpr Kernels table = {run_batch<f32>, run_batch<f64>};
  return table;
}

}  // namespace omniconv::bessel::neon
