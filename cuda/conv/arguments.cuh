// conv/arguments.cuh -- what every convolution kernel is told, and the steps that all of them share
#pragma once

#include "conv/device_conv.hpp"
#include "core/activation.cuh"
#include "prim/device.cuh"
#include "prim/prim.cuh"

namespace omniconv::cuda {

using conv::Axis;
using conv::DeviceAlgorithm;
using conv::DeviceAsk;
using conv::DeviceCall;
using conv::kAxes;
using conv::Problem;
using conv::Strides;
using conv::WeightView;

// Division of 0 <= n < 2^31 by a number known at launch: m = floor(2^(31 + l) / d) + 1 with l = ceil(log2 d) gives
// floor(n / d) = n m >> (31 + l), all within 64 bits (Granlund and Montgomery 1994, with N = 31).
struct Divisor {
  uint64_t multiplier;
  uint32_t divisor, shift;

  explicit Divisor(int64_t d) : divisor(uint32_t(d)), shift(31) {
    while ((int64_t{1} << (shift - 31)) < d) ++shift;
    multiplier = (uint64_t{1} << shift) / uint64_t(d) + 1;
  }
  __device__ int quotient(int n) const { return int(uint64_t(uint32_t(n)) * multiplier >> shift); }
};

inline int64_t padded_channels(const Problem& p) { return (p.co + 3) / 4 * 4; }

template <class T>
struct Arguments {
  Problem p;
  const T* x;
  Strides xs;
  T* y;
  Strides ys;
  const T* residual;
  Strides rs;
  const T *bias, *scale;
  int64_t bias_stride, scale_stride;
  Activation activation;
  T slope;
  const T* weight;  // packed: [groups][taps * ci][padded channels]
  int64_t weight_row, weight_group;
  Divisor by_plane, by_area, by_width, by_ci, by_tap_area, by_tap_width;

  explicit Arguments(const DeviceCall& call)
      : p(*call.problem),
        x(static_cast<const T*>(call.x)),
        xs(call.xs),
        y(static_cast<T*>(call.y)),
        ys(call.ys),
        residual(static_cast<const T*>(call.residual)),
        rs(call.rs),
        bias(static_cast<const T*>(call.bias)),
        scale(static_cast<const T*>(call.scale)),
        bias_stride(call.bias_stride),
        scale_stride(call.scale_stride),
        activation(call.activation),
        slope(T(call.negative_slope)),
        weight(static_cast<const T*>(call.packed)),
        weight_row(padded_channels(p)),
        weight_group(p.k() * weight_row),
        by_plane(p.plane()),
        by_area(p.axis[1].out * p.axis[2].out),
        by_width(p.axis[2].out),
        by_ci(p.ci),
        by_tap_area(p.axis[1].taps * p.axis[2].taps),
        by_tap_width(p.axis[2].taps) {}
};

// Where a pixel is.
struct Pixel {
  int n, o[kAxes];
};

template <class T>
__device__ inline Pixel pixel_of(const Arguments<T>& a, int m) {
  Pixel at;
  at.n = a.by_plane.quotient(m);
  int rest = m - at.n * int(a.by_plane.divisor);
  at.o[0] = a.by_area.quotient(rest);
  rest -= at.o[0] * int(a.by_area.divisor);
  at.o[1] = a.by_width.quotient(rest);
  at.o[2] = rest - at.o[1] * int(a.by_width.divisor);
  return at;
}

__device__ inline int64_t offset_of(const Strides& s, const Pixel& at) {
  return at.n * s.n + at.o[0] * s.axis[0] + at.o[1] * s.axis[1] + at.o[2] * s.axis[2];
}

// Which element of a window: term k of the sum is tap k / ci, channel k % ci.
struct Term {
  int c, tap[kAxes];
};

template <class T>
__device__ inline Term term_of(const Arguments<T>& a, int k) {
  Term at;
  int tap = a.by_ci.quotient(k);
  at.c = k - tap * int(a.by_ci.divisor);
  at.tap[0] = a.by_tap_area.quotient(tap);
  tap -= at.tap[0] * int(a.by_tap_area.divisor);
  at.tap[1] = a.by_tap_width.quotient(tap);
  at.tap[2] = tap - at.tap[1] * int(a.by_tap_width.divisor);
  return at;
}

template <class T>
__device__ inline void next_term(const Arguments<T>& a, Term& at) {
  if (++at.c < int(a.by_ci.divisor)) return;
  at.c = 0;
  if (++at.tap[2] < int(a.by_tap_width.divisor)) return;
  at.tap[2] = 0;
  if (++at.tap[1] < int(a.p.axis[1].taps)) return;
  at.tap[1] = 0;
  ++at.tap[0];
}

template <class T>
__device__ inline void next_pixel(const Arguments<T>& a, Pixel& at) {
  if (++at.o[2] < int(a.by_width.divisor)) return;
  at.o[2] = 0;
  if (++at.o[1] < int(a.p.axis[1].out)) return;
  at.o[1] = 0;
  if (++at.o[0] < int(a.p.axis[0].out)) return;
  at.o[0] = 0;
  ++at.n;
}

// The place of an element of x in a channel's plane; false where the border is zero.
template <class T>
__device__ inline bool source_of(const Arguments<T>& a, const Pixel& at, const Term& term, int64_t* offset) {
  int64_t place = 0;
#pragma unroll
  for (int i = 0; i < kAxes; ++i) {
    const Axis& axis = a.p.axis[i];
    int64_t from = int64_t(at.o[i]) * axis.stride + int64_t(term.tap[i]) * axis.dilation - axis.lo;
    if (uint64_t(from) >= uint64_t(axis.in)) {
      from = conv::border(from, axis.in, a.p.mode);
      if (from < 0) return false;
    }
    place += from * a.xs.axis[i];
  }
  *offset = place;
  return true;
}

// activation(scale sum + bias + residual) to its place. `channel` counts over all groups.
template <class Real, class T>
__device__ inline void finish(const Arguments<T>& a, const Pixel& at, int64_t channel, Real sum) {
  if (a.scale) sum *= Real(a.scale[channel * a.scale_stride]);
  if (a.bias) sum += Real(a.bias[channel * a.bias_stride]);
  if (a.residual) sum += Real(a.residual[offset_of(a.rs, at) + channel * a.rs.c]);
  if (a.activation != Activation::none) sum = activate(a.activation, sum, Real(a.slope));
  a.y[offset_of(a.ys, at) + channel * a.ys.c] = T(sum);
}

// ---- on the host
// -------------------------------------------------------------------------------------------------------

// Blocks of `each` for `count` elements, in one dimension.
inline prim::Grid blocks_for(int64_t count, int each) { return {unsigned((count + each - 1) / each), 1, 1}; }

// Kernels count pixels, terms and coordinates in 31 bits.
inline void decline_large(const Problem& p, DeviceMessage* message) {
  constexpr int64_t kMost = int64_t{1} << 30;
  bool fits = p.pixels() < kMost && p.k() < kMost && p.groups * p.co < kMost;
  for (const Axis& a : p.axis) fits = fits && a.in < kMost && a.out < kMost && a.taps < kMost;
  if (!fits) std::snprintf(message->text, sizeof message->text, "has more than 2^30 pixels, terms or channels");
}

inline void say(DeviceMessage* message, const char* why) {
  std::snprintf(message->text, sizeof message->text, "%s", why);
}

// Packing of [groups][taps * ci][padded channels], which all algorithms share.
size_t packed_bytes(const DeviceAsk* ask);
int pack_weights(const DeviceCall* call, DeviceMessage* message);

}  // namespace omniconv::cuda
