// sparse/spikes_scalar.cpp -- the kernels of spike counts, the baseline of the architecture
#include "sparse/spikes.inl.hpp"

namespace omniconv::sparse::scalar {

const SpikeKernels& spike_kernels() {
  static constexpr SpikeKernels table = make_spike_kernels<1>();
  return table;
}

}  // namespace omniconv::sparse::scalar
