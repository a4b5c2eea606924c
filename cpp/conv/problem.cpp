// conv/problem.cpp -- checking descriptions, canonical form, phases of the input gradient
#include "conv/problem.hpp"

#include <algorithm>
#include <numeric>
#include <string>

namespace omniconv::conv {
namespace {

constexpr int64_t kMaxParameter = (int64_t{1} << 31) - 1;  // stride, dilation, padding: what 32 bits hold
constexpr int64_t kMaxPhases = int64_t{1} << 16;           // each is a problem of its own
constexpr int64_t kMaxElements = int64_t{1} << 46;         // 2^46 floats = 256 TiB: past any machine

[[noreturn]] void invalid(const std::string& message) { throw Error(Code::invalid_argument, message); }

std::string string_of(const std::vector<int64_t>& shape) { return shape_string(shape.data(), int(shape.size())); }

void check_range(const char* what, int64_t value, int64_t lowest, int axis) {
  if (value < lowest || value > kMaxParameter)
    invalid(std::string(what) + " of spatial axis " + std::to_string(axis) + " is " + std::to_string(value) +
            "; allowed are " + std::to_string(lowest) + " to " + std::to_string(kMaxParameter));
}

// Elements of a shape; an error instead of an overflow.
void check_elements(const char* what, const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t d : shape) {
    if (d < 0) invalid(std::string(what) + " has a negative size: " + string_of(shape));
    if (d > 0 && n > kMaxElements / d)
      throw Error(Code::invalid_argument,
                  std::string(what) + " of shape " + string_of(shape) + " is too large: more than 2^46 elements");
    n *= std::max<int64_t>(d, 1);
  }
}

void check_channels(const ConvDesc& d) {
  const int64_t ci = d.x_shape[1], co = d.w_shape[0];
  if (d.groups < 1) invalid("groups is " + std::to_string(d.groups) + "; it must be at least 1");
  if (ci < 1) invalid("x of shape " + string_of(d.x_shape) + " has no channels");
  if (ci % d.groups)
    invalid("groups is " + std::to_string(d.groups) + ", which does not divide the " + std::to_string(ci) +
            " input channels");
  if (co % d.groups || co < 1)
    invalid("groups is " + std::to_string(d.groups) + ", which does not divide the " + std::to_string(co) +
            " output channels");
  if (d.w_shape[1] != ci / d.groups)
    invalid("weight of shape " + string_of(d.w_shape) + " has " + std::to_string(d.w_shape[1]) +
            " input channels per group; x of shape " + string_of(d.x_shape) +
            " with groups=" + std::to_string(d.groups) + " needs " + std::to_string(ci / d.groups));
}

Axis make_axis(const ConvDesc& d, int i) {
  check_range("stride", d.stride[i], 1, i);
  check_range("dilation", d.dilation[i], 1, i);
  check_range("padding (low)", d.pad_lo[i], 0, i);
  check_range("padding (high)", d.pad_hi[i], 0, i);
  Axis a;
  a.in = d.x_shape[2 + i];
  a.taps = d.w_shape[2 + i];
  a.stride = d.stride[i];
  a.dilation = d.dilation[i];
  a.lo = d.pad_lo[i];
  if (a.in < 1) invalid("x of shape " + string_of(d.x_shape) + ": spatial axis " + std::to_string(i) + " is empty");
  if (a.taps < 1)
    invalid("weight of shape " + string_of(d.w_shape) + ": spatial axis " + std::to_string(i) + " is empty");
  if (a.taps > kMaxParameter || a.in > kMaxElements)
    invalid("weight or x is too large along spatial axis " + std::to_string(i));
  const int64_t pad = std::max(d.pad_lo[i], d.pad_hi[i]);
  if (d.padding_mode == PaddingMode::reflect && pad >= a.in)
    invalid("padding " + std::to_string(pad) + " with padding_mode='reflect' must be smaller than the size " +
            std::to_string(a.in) + " of spatial axis " + std::to_string(i));
  if (d.padding_mode == PaddingMode::circular && pad > a.in)
    invalid("padding " + std::to_string(pad) + " with padding_mode='circular' must not be larger than the size " +
            std::to_string(a.in) + " of spatial axis " + std::to_string(i));
  const int64_t padded = a.in + d.pad_lo[i] + d.pad_hi[i];
  if (a.window() > padded)
    invalid("weight: the kernel spans " + std::to_string(a.window()) + " elements of spatial axis " +
            std::to_string(i) + ", the padded input has " + std::to_string(padded));
  check_range("output_padding", d.output_padding[i], 0, i);
  if (d.output_padding[i] > 0 && d.output_padding[i] >= std::max(a.stride, a.dilation))
    invalid("output_padding of spatial axis " + std::to_string(i) + " is " + std::to_string(d.output_padding[i]) +
            "; it must be smaller than stride or dilation, here " + std::to_string(std::max(a.stride, a.dilation)));
  const int64_t slack = padded - a.window() - d.output_padding[i];
  if (slack < 0)
    invalid("output_padding of spatial axis " + std::to_string(i) + " is larger than the output leaves room for");
  a.out = slack / a.stride + 1;
  return a;
}

// Outputs of phase r along one axis: taps k with (r + lo - k * dilation) divisible by the stride.
AxisPhase phase_of(const Axis& f, int64_t r) {
  const int64_t g = std::gcd(f.stride, f.dilation), period = f.stride / g;
  AxisPhase p;
  p.start = r;
  p.step = f.stride;
  p.axis = {f.out, (f.in - r + f.stride - 1) / f.stride, 0, 1, f.dilation / g, 0};
  int64_t first = 0;
  while (first < period && first < f.taps && (r + f.lo - first * f.dilation) % f.stride != 0) ++first;
  if (first == period || first >= f.taps) return p;  // no tap meets this phase: its outputs are zero
  p.axis.taps = (f.taps - first + period - 1) / period;
  p.first_tap = first + (p.axis.taps - 1) * period;  // flipped: the last tap meets the lowest coordinate
  p.tap_step = -period;
  p.axis.lo = -((r + f.lo - first * f.dilation) / f.stride - (p.axis.taps - 1) * p.axis.dilation);
  return p;
}

// The phases of an axis that a tap meets, in order. Taps one period apart meet the same, so a stride of any size
// costs no more than the taps.
std::vector<int64_t> phases_met(const Axis& f) {
  const int64_t period = f.stride / std::gcd(f.stride, f.dilation);
  if (std::min(period, f.taps) > kMaxPhases)
    throw Error(Code::not_supported, "stride: the gradient of x falls into more than 2^16 parts along one axis");
  std::vector<int64_t> met;
  for (int64_t k = 0; k < std::min(period, f.taps); ++k) {
    const int64_t r = ((k * f.dilation - f.lo) % f.stride + f.stride) % f.stride;
    if (r < f.in) met.push_back(r);
  }
  std::sort(met.begin(), met.end());
  return met;
}

}  // namespace

Problem make_problem(const ConvDesc& d) {
  if (d.dtype != DType::float32 && d.dtype != DType::float64)
    throw Error(Code::type_error, std::string("dtype is ") + name(d.dtype) + "; supported are float32 and float64");
  if (d.op == ConvOp::grad_weight && d.activation != Activation::none)
    invalid("activation is given; the gradient of the weights takes none");
  if (d.spatial < 1 || d.spatial > kAxes)
    invalid("spatial is " + std::to_string(d.spatial) + "; allowed are 1, 2 and 3");
  const size_t rank = 2 + d.spatial;
  if (d.x_shape.size() != rank)
    invalid("x has " + std::to_string(d.x_shape.size()) + " dimensions, shape " + string_of(d.x_shape) + "; a " +
            std::to_string(d.spatial) + "-D convolution needs " + std::to_string(rank) + ": batch, channels, spatial");
  if (d.w_shape.size() != rank)
    invalid("weight has " + std::to_string(d.w_shape.size()) + " dimensions, shape " + string_of(d.w_shape) + "; a " +
            std::to_string(d.spatial) + "-D convolution needs " + std::to_string(rank) +
            ": output channels, input channels / groups, kernel");
  check_elements("x", d.x_shape);
  check_elements("weight", d.w_shape);
  check_channels(d);
  Problem p;
  p.batch = d.x_shape[0];
  p.groups = d.groups;
  p.ci = d.x_shape[1] / d.groups;
  p.co = d.w_shape[0] / d.groups;
  p.mode = d.padding_mode;
  p.precision = d.precision;
  std::vector<int64_t> y{p.batch, d.w_shape[0]};
  for (int i = 0; i < d.spatial; ++i) {
    p.axis[kAxes - d.spatial + i] = make_axis(d, i);
    y.push_back(p.axis[kAxes - d.spatial + i].out);
  }
  check_elements("the output", y);
  return p;
}

std::vector<Phase> input_gradient_phases(const Problem& f, bool* covered) {
  std::vector<AxisPhase> along[kAxes];
  *covered = true;
  double count = 1;
  for (int i = 0; i < kAxes; ++i) {
    const std::vector<int64_t> met = phases_met(f.axis[i]);
    for (int64_t r : met) along[i].push_back(phase_of(f.axis[i], r));
    if (int64_t(met.size()) < std::min(f.axis[i].stride, f.axis[i].in)) *covered = false;
    count *= double(met.size());
  }
  if (count > kMaxPhases)
    throw Error(Code::not_supported,
                "stride: the gradient of x falls into more than 2^16 parts, one for each place of a window");
  std::vector<Phase> phases;
  for (const AxisPhase& a : along[0])
    for (const AxisPhase& b : along[1])
      for (const AxisPhase& c : along[2]) {
        const AxisPhase* each[kAxes] = {&a, &b, &c};
        Phase phase;
        phase.problem.batch = f.batch;
        phase.problem.groups = f.groups;
        phase.problem.ci = f.co;
        phase.problem.co = f.ci;
        phase.problem.precision = f.precision;
        for (int i = 0; i < kAxes; ++i) {
          phase.problem.axis[i] = each[i]->axis;
          phase.start[i] = each[i]->start;
          phase.step[i] = each[i]->step;
          phase.first_tap[i] = each[i]->first_tap;
          phase.tap_step[i] = each[i]->tap_step;
        }
        phases.push_back(phase);
      }
  return phases;
}

Problem padded_problem(const Problem& problem) {
  Problem p = problem;
  p.mode = PaddingMode::zeros;
  for (Axis& a : p.axis) {
    // What lies past the last window is never read, so the grown input ends there.
    a.in = (a.out - 1) * a.stride + a.window();
    a.lo = 0;
  }
  return p;
}

}  // namespace omniconv::conv
