// nn/kernels.hpp -- what an ISA provides to the nn family: plain functions on plain memory
//
// Rows of `width` adjacent floats; strides count floats.
#pragma once

#include <cstdint>

namespace omniconv::nn {

struct NormArgs {
  const float* x;
  int64_t x_step, rows, width;
  const float *weight, *bias;  // or null
  double eps;
  bool centred;
  float* y;
  int64_t y_step;
};

// sums[c] = sum over rows of x[r, c], or of its squares, c < width <= kStrip.
inline constexpr int64_t kStrip = 32;
struct SumArgs {
  const float* x;
  int64_t x_step, rows, width;
  bool squares;
  float* sums;
};

// y = x * scale + shift, or x * other; what is null is left away.
struct AffineArgs {
  const float* x;
  int64_t x_step, rows, width;
  const float *scale, *shift;  // [width]
  const float* other;
  int64_t other_step;
  float* y;
  int64_t y_step;
};

// y[r] = sum over c of w[r, c] * x[c], plus bias[r] where it is given.
struct ProductArgs {
  const float* w;
  int64_t w_step, rows, width;
  const float *x, *bias;
  float* y;
};

// One row of output of `count` windows: tap (i, j) of window w is at x + i * tap_row + (first + w * stride + j) *
// pixel, for the j with a column in [0, columns).
struct PoolArgs {
  const float* x;
  int64_t rows, taps, tap_row, pixel, first, stride, columns, count, width;
  float* y;
  int64_t y_pixel;
};

struct Kernels {
  void (*norm)(const NormArgs&);
  void (*sums)(const SumArgs&);
  void (*affine)(const AffineArgs&);
  void (*product)(const ProductArgs&);
  void (*max_pool)(const PoolArgs&);
};

const Kernels& kernels();  // of the current ISA

#define OMNICONV_NN_ISA(isa)   \
  namespace isa {              \
  const Kernels& nn_kernels(); \
  }
OMNICONV_NN_ISA(scalar)
OMNICONV_NN_ISA(neon)
OMNICONV_NN_ISA(avx2)
OMNICONV_NN_ISA(avx512)
#undef OMNICONV_NN_ISA

}  // namespace omniconv::nn
