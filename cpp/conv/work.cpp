// conv/work.cpp -- what a description comes down to, on any device
#include "conv/work.hpp"

#include <utility>

namespace omniconv::conv {

Work make_work(const ConvDesc& desc) {
  Work work;
  work.problem = make_problem(desc);
  if (desc.op == ConvOp::forward) {
    Phase whole;
    whole.problem = work.problem;
    work.phases.push_back(whole);
  } else if (desc.op == ConvOp::grad_input) {
    work.folded = desc.padding_mode != PaddingMode::zeros;
    work.phases = input_gradient_phases(work.folded ? padded_problem(work.problem) : work.problem, &work.covered);
  }
  return work;
}

Work one_image(Work work) {
  work.problem.batch = 1;
  for (Phase& phase : work.phases) phase.problem.batch = 1;
  return work;
}

WeightView weight_view(const ConvDesc& desc, const Work& work, const Phase& phase, const TensorView& w) {
  const Problem& p = work.problem;
  WeightView v;
  v.group = p.co * w.strides[0];
  v.co = w.strides[0];
  v.ci = w.strides[1];
  if (desc.op == ConvOp::grad_input) std::swap(v.co, v.ci);
  for (int i = 0; i < desc.spatial; ++i) {
    const int axis = kAxes - desc.spatial + i;
    v.offset += phase.first_tap[axis] * w.strides[2 + i];
    v.tap[axis] = phase.tap_step[axis] * w.strides[2 + i];
  }
  // An axis of one tap may have any stride; the canonical one lets dense weights be seen as dense.
  int64_t dense = 1;
  for (int axis = kAxes - 1; axis >= 0; --axis) {
    if (phase.problem.axis[axis].taps == 1) v.tap[axis] = dense;
    dense *= phase.problem.axis[axis].taps;
  }
  if (phase.problem.ci == 1) v.ci = dense;
  return v;
}

}  // namespace omniconv::conv
