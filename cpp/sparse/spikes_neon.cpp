// sparse/spikes_neon.cpp -- the kernels of spike counts, NEON
#include "sparse/spikes.inl.hpp"

namespace omniconv::sparse::neon {

const SpikeKernels& spike_kernels() {
  static constexpr SpikeKernels table = make_spike_kernels<1>();
  return table;
}

}  // namespace omniconv::sparse::neon
