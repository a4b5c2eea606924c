// conv/problem.hpp -- one convolution in canonical form: what every algorithm sees
#pragma once

#include <cstdint>
#include <vector>

#include "conv/geometry.hpp"
#include "omniconv/conv.hpp"

namespace omniconv::conv {

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
