// bessel/functions.hpp -- the functions of the family, and what one ISA offers of them
#pragma once

#include <cstdint>

#include "omniconv/bessel.hpp"

namespace omniconv::bessel {

inline constexpr int kBlock = 256;   // values that a kernel takes at a time: 2 KiB of each array, all in L1
inline constexpr int kPadding = 16;  // a kernel may read and write so many values past the last
inline constexpr int kBuffer = kBlock + kPadding;

// v and x: n <= kBlock values in buffers of kBuffer; out[1] is used by the gradients alone. The kernel may change v.
template <class T>
struct BlockArgs {
  BesselFunction function;
  int n;
  T *v, *x, *out[2];
};

struct Kernels {
  void (*f32)(const BlockArgs<float>&);
  void (*f64)(const BlockArgs<double>&);
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

// Trapezoidal rule for K in the variable tau: node i stands at tau = (i - left) h.
inline constexpr int kMaxNodes = 64;
struct Trapezoid {
  int nodes;
  double h;
  double tau[kMaxNodes];
  double even[kMaxNodes];  // cosh tau - 1
  double odd[kMaxNodes];   // sinh tau - tau
  double up[kMaxNodes];    // e^tau
  double down[kMaxNodes];  // e^-tau
};
inline constexpr int kTrapezoids = 4;  // for hypot(v, x) below 4, 8, 16, 24
const Trapezoid& trapezoid(int which);

}  // namespace omniconv::bessel
