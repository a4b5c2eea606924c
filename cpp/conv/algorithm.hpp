// conv/algorithm.hpp -- the list of ways to do a forward problem; plan, tests and benches walk it
#pragma once

#include <cstddef>
#include <string>

#include "conv/kernels.hpp"
#include "conv/problem.hpp"

namespace omniconv::conv {

// What is known of the operands when an algorithm is chosen.
struct Layout {
  bool channels_contiguous = false;  // x has channel stride 1
};

// What a plan was made for. Packed weights depend on the kernels, so a plan keeps them for life.
struct Target {
  const Kernels& kernels;
  int threads;
};

struct Run {
  const Problem& problem;
  const Operands& memory;
  const float* packed;  // weights from pack_weights
  char* workspace;
  Target target;  // workspace holds so many workers as it has threads
};

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

// How an algorithm does the gradient of the weights; its bits are its own. The members are those of Algorithm.
struct WeightGradient {
  std::string (*decline)(const Problem&);
  size_t (*workspace)(const Problem&, Target);
  double (*cost)(const Problem&, Target);
  void (*run)(const WeightGradientRun&);
};

struct Algorithm {
  const char* name;
  const char* summary;
  std::string (*decline)(const Problem&, Layout);  // why not, or empty
  size_t (*workspace)(const Problem&, Target);
  double (*cost)(const Problem&, Layout, Target);  // predicted cycles of one run
  void (*run)(const Run&);
  // Weights in a form of the algorithm's own, made from the panels and kept behind them.
  size_t (*extra_floats)(const Problem&, const Kernels&) = nullptr;
  void (*pack_extra)(const Problem&, const Kernels&, const float* packed, float* extra) = nullptr;
  double (*pack_cost)(const Problem&, Target) = nullptr;  // predicted cycles of either, where they matter
  bool needs_split = false;                               // runs only where Kernels::split is there
  bool own_bits = false;  // results differ in their last bits from those of the others, which are all the same
  const WeightGradient* grad_weight = nullptr;
  // pack_extra from the weights as they are given, for an algorithm that reads no panels.
  void (*pack_own)(const Problem&, const Kernels&, const float* weight, const WeightView&, float* extra) = nullptr;
  bool keeps_weights() const { return pack_extra || pack_own; }
};

// Weights for `a`: panels, unless it reads none and `panels` does not ask for them, and behind them its own form.
void pack_for(const Algorithm* a, bool panels, const Problem& p, const Kernels& kernels, const float* weight,
              const WeightView& view, float* packed);

extern const WeightGradient kIm2winGradWeight, kPlanarGradWeight, kPointwiseGradWeight;

// float32 algorithms in the order in which ties are resolved; `reference` serves every type and is not among them.
extern const Algorithm* const kAlgorithms[];
extern const int kAlgorithmCount;

extern const Algorithm kDirect, kIm2win, kIm2winFull, kIm2winSplit, kIm2col, kPlanar, kPointwise, kDepthwise, kGrouped,
    kFft;
extern const Algorithm kWinograd2x2, kWinograd2x4, kWinograd3x3, kWinograd4x4, kWinograd5x5, kWinograd6x6, kWinograd1x2,
    kWinograd1x4, kWinograd1x6, kWinograd2x1;

// Cycles to multiply: flops at nine tenths of the ISA's peak, with panels that are partly empty counted as full.
double multiply_cycles(const Problem& p, Target target);
// Cycles to take sums through a buffer, and for NCHW a transposition, to their place: 0.6 each.
double finish_cycles(const Problem& p, Target target);

}  // namespace omniconv::conv
