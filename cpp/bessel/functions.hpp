// bessel/functions.hpp -- the functions of the family, and what one ISA offers of them
#pragma once

#include <cstdint>

#include "omniconv/options.hpp"

namespace omniconv::bessel {

// n values, one after the other; out[1] is used by the gradients alone. The arrays do not overlap.
template <class T>
struct BatchArgs {
  BesselFunction function;
  int n;
  const T *v, *x;
  T* out[2];
};

struct Kernels {
  void (*f32)(const BatchArgs<float>&);
  void (*f64)(const BatchArgs<double>&);
};

const Kernels& kernels();  // of the current ISA

#define OMNICONV_BESSEL_ISA(isa)   \
  namespace isa {                  \
  const Kernels& bessel_kernels(); \
  }
OMNICONV_BESSEL_ISA(scalar)
OMNICONV_BESSEL_ISA(neon)
OMNICONV_BESSEL_ISA(avx2)
OMNICONV_BESSEL_ISA(avx512)
#undef OMNICONV_BESSEL_ISA

template <class V>
struct Result {
  V first, second;  // the value, or the derivatives by v and by x
};

// Trapezoidal rule for K in the variable tau: node i stands at tau = (i - centre) h.
inline constexpr int kMaxNodes = 96;
struct Trapezoid {
  int nodes, centre;
  double h;
  double tau[kMaxNodes];
  double even[kMaxNodes];  // cosh tau - 1
  double odd[kMaxNodes];   // sinh tau - tau
  double up[kMaxNodes];    // e^tau
  double down[kMaxNodes];  // e^-tau
};
inline constexpr int kTrapezoids = 4;  // for hypot(v, x) below 4, 8, 16, 24
const Trapezoid* trapezoids();

}  // namespace omniconv::bessel
