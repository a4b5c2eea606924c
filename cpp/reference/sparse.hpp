// reference/sparse.hpp -- sparse convolution pair by pair, summed in float64: the oracle, and what float64 runs on
#pragma once

#include "omniconv/sparse.hpp"

namespace omniconv::reference {

// Arguments as those of the functions of omniconv/sparse.hpp, already checked; float64.
void sparse_convolve(const SparseMap& map, const TensorView& x, const TensorView& weight, int64_t groups,
                     const SparseEpilogue& epilogue, const TensorView& y);
void sparse_grad_weight(const SparseMap& map, const TensorView& x, const TensorView& g, int64_t groups,
                        const TensorView& dw);

}  // namespace omniconv::reference
