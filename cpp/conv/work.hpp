// conv/work.hpp -- what a description comes down to, on any device: forward problems and what surrounds them
#pragma once

#include <vector>

#include "conv/problem.hpp"

namespace omniconv::conv {

struct Work {
  Problem problem;
  std::vector<Phase> phases;  // none for grad_weight
  bool covered = true;        // the phases write every output
  bool folded = false;        // the phases write the padded input; the border is folded in afterwards
};

Work make_work(const ConvDesc& desc);

// The same for one image.
Work one_image(Work work);

// The weights of a phase inside the weights of the forward convolution.
WeightView weight_view(const ConvDesc& desc, const Work& work, const Phase& phase, const TensorView& w);

}  // namespace omniconv::conv
