// reference/sparse.hpp -- sparse convolution pair by pair, summed in float64: the oracle, and what float64 runs on
#pragma once

#include "omniconv/sparse.hpp"
#include "omniconv/spikes.hpp"

namespace omniconv::reference {

// Arguments as those of the functions of omniconv/sparse.hpp, already checked; float64.
void sparse_convolve(const SparseMap& map, const TensorView& x, const TensorView& weight, int64_t groups,
                     const SparseEpilogue& epilogue, const TensorView& y);
void sparse_grad_weight(const SparseMap& map, const TensorView& x, const TensorView& g, int64_t groups,
                        const TensorView& dw);

// Counts by weights [Co, Ci / groups, taps] in 64 bits, then membrane and neuron in float32.
void spike_convolve(const SparseMap& map, const SpikeRows& x, const int8_t* weight, int64_t out_channels,
                    int64_t groups, const SpikeResult& result);

}  // namespace omniconv::reference
