// conv/problem.hpp -- one convolution in canonical form: what every algorithm sees
#pragma once

#include <cstdint>
#include <vector>

#include "omniconv/conv.hpp"

namespace omniconv::conv {

inline constexpr int kAxes = 3;  // depth, height, width; missing leading axes have size 1

// Output o and tap k read input coordinate o * stride + k * dilation - lo.
struct Axis {
  int64_t in = 1, out = 1, taps = 1, stride = 1, dilation = 1, lo = 0;
  int64_t window() const { return (taps - 1) * dilation + 1; }
};

struct Problem {
  int64_t batch = 1, groups = 1;
  int64_t ci = 1, co = 1;  // channels per group
  Axis axis[kAxes];
  PaddingMode mode = PaddingMode::zeros;
  Precision precision = Precision::highest;

  int64_t taps() const { return axis[0].taps * axis[1].taps * axis[2].taps; }
  int64_t k() const { return taps() * ci; }
  int64_t plane() const { return axis[0].out * axis[1].out * axis[2].out; }
  int64_t pixels() const { return batch * plane(); }
  int64_t rows() const { return batch * axis[0].out * axis[1].out; }
  double flops() const { return 2.0 * pixels() * groups * co * k(); }
};

// Source coordinate of padded coordinate `p` (may be < 0 or >= in), or -1 for a zero.
inline int64_t border(int64_t p, int64_t in, PaddingMode mode) {
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

// The memory of one run. y may be a strided part of the output (a phase of grad_input).
struct Operands {
  const float* x = nullptr;
  Strides xs;
  float* y = nullptr;
  Strides ys;
  const float* residual = nullptr;
  Strides rs;
  const float* bias = nullptr;   // [groups * co]
  const float* scale = nullptr;  // [groups * co]
  Activation activation = Activation::none;
  float negative_slope = 0;
};

// One axis of grad_input split by phase: outputs i = start + t * step, t in [0, axis.out), are a stride-1
// correlation of the gradient with taps first_tap + tap_step * k (tap_step < 0: flipped).
struct AxisPhase {
  Axis axis;
  int64_t start = 0, step = 1, first_tap = 0, tap_step = -1;
};

// A forward problem that writes part of the result.
struct Phase {
  Problem problem;
  int64_t start[kAxes] = {0, 0, 0}, step[kAxes] = {1, 1, 1};          // which outputs
  int64_t first_tap[kAxes] = {0, 0, 0}, tap_step[kAxes] = {1, 1, 1};  // which weights
};

// Checks everything a description can get wrong; every later step relies on it.
Problem make_problem(const ConvDesc& desc);

// grad_input of `forward` (border mode zeros) as forward problems over the gradient, with stride 1: no zero is
// ever inserted. `covered` tells whether the phases write every output; where they do not, it is zero.
std::vector<Phase> input_gradient_phases(const Problem& forward, bool* covered);

// The same problem with the border written out: the input grown to lo + in + hi, border mode zeros, lo = 0.
Problem padded_problem(const Problem& problem);

}  // namespace omniconv::conv
