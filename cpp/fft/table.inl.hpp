// fft/table.inl.hpp -- the kernels of one ISA as a table
#pragma once

#include "fft/halfband.inl.hpp"

namespace omniconv::fft {
namespace OMNICONV_ISA_NS {

template <class T>
static Kernels<T> make_kernels() {
  return {.lanes = Lanes<T>::kCount,
          .load = load_rows<T>,
          .store = store_rows<T>,
          .convolve = walk<T, Way::convolve>,
          .forward = walk<T, Way::forward>,
          .inverse = walk<T, Way::inverse>,
          .convolve_keep = walk<T, Way::keep>,
          .convolve_conj = walk<T, Way::conj>,
          .backward = walk<T, Way::backward>,
          .backward_adjoint = walk<T, Way::backward_adjoint>,
          .stage = stage_columns<T>,
          .correlate = correlate<T>,
          .scale = scale<T>,
          .epilogue = epilogue<T>,
          .direct = direct_rows<T>,
          .direct_taps = direct_taps<T>,
          .halve = halve<T>,
          .twice = twice<T>};
}

static AllKernels all_kernels() { return {make_kernels<float>(), make_kernels<double>()}; }

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::fft
