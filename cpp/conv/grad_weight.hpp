// conv/grad_weight.hpp -- gradient of the weights: for every window element and output channel a sum over pixels
#pragma once

#include "conv/algorithm.hpp"

namespace omniconv::conv {

// dw[g, co, ci, k] = sum over pixels of grad[n, co, o] * x[n, ci, o * stride + k * dilation - lo].
// `memory`: x and xs are the input, y and ys the gradient of the output (read only here).
struct WeightGradientRun {
  const Problem& problem;
  const Operands& memory;
  float* dw;
  WeightView view;
  char* workspace;
  Target target;
};

std::string grad_weight_decline(const Problem& p);
size_t grad_weight_workspace(const Problem& p, Target target);
double grad_weight_cost(const Problem& p, Target target);
void grad_weight(const WeightGradientRun& run);

}  // namespace omniconv::conv
