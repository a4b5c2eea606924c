// bessel/bessel_scalar.cpp -- the Bessel kernels, scalar
#include "bessel/kernels.inl.hpp"

namespace omniconv::bessel::scalar {

const Kernels& bessel_kernels() {
  static constexpr Kernels table = {run_batch<f32>, run_batch<f64>};
  return table;
}

}  // namespace omniconv::bessel::scalar
