// conv/geometry.hpp -- one convolution in canonical form, as plain numbers: what kernels on any device read
//
// No standard header beyond <cstdint>: nvcc compiles this as well, and a device plugin shares these structs with the
// library.
#pragma once

#include <cstdint>

#include "omniconv/options.hpp"

#if defined(__CUDACC__)
#define OMNICONV_BOTH_SIDES __host__ __device__
#else
#define OMNICONV_BOTH_SIDES
#endif

namespace omniconv::conv {

inline constexpr int kAxes = 3;  // depth, height, width; missing leading axes have size 1

// Output o and tap k read input coordinate o * stride + k * dilation - lo.
struct Axis {
  int64_t in = 1, out = 1, taps = 1, stride = 1, dilation = 1, lo = 0;
  OMNICONV_BOTH_SIDES int64_t window() const { return (taps - 1) * dilation + 1; }
};

struct Problem {
  int64_t batch = 1, groups = 1;
  int64_t ci = 1, co = 1;  // channels per group
  Axis axis[kAxes];
  PaddingMode mode = PaddingMode::zeros;
  Precision precision = Precision::highest;

  OMNICONV_BOTH_SIDES int64_t taps() const { return axis[0].taps * axis[1].taps * axis[2].taps; }
  OMNICONV_BOTH_SIDES int64_t k() const { return taps() * ci; }
  OMNICONV_BOTH_SIDES int64_t plane() const { return axis[0].out * axis[1].out * axis[2].out; }
  OMNICONV_BOTH_SIDES int64_t pixels() const { return batch * plane(); }
  int64_t rows() const { return batch * axis[0].out * axis[1].out; }
  double flops() const { return 2.0 * double(pixels()) * double(groups * co) * double(k()); }
};

// Source coordinate of padded coordinate `p` (may be < 0 or >= in), or -1 for a zero.
OMNICONV_BOTH_SIDES inline int64_t border(int64_t p, int64_t in, PaddingMode mode) {
  if (p >= 0 && p < in) return p;
  switch (mode) {
    case PaddingMode::zeros: return -1;
    case PaddingMode::replicate: return p < 0 ? 0 : in - 1;
    case PaddingMode::circular: return ((p % in) + in) % in;
    case PaddingMode::reflect: {
      const int64_t q = p < 0 ? -p : 2 * (in - 1) - p;
      return q < 0 ? 0 : q < in ? q : in - 1;  // clamped: tiles reach past the padding that was asked for
    }
  }
  return -1;
}

// Element strides of an activation tensor.
struct Strides {
  int64_t n = 0, c = 0, axis[kAxes] = {0, 0, 0};
};

// Where the weights of a problem sit: element (g, co, ci, k) is at
// offset + g * group + co * co_stride + ci * ci_stride + sum_i k[i] * tap[i]. Flipped taps have negative strides.
struct WeightView {
  int64_t offset = 0, group = 0, co = 0, ci = 0, tap[kAxes] = {0, 0, 0};
};

}  // namespace omniconv::conv
