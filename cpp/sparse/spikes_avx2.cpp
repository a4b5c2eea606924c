// sparse/spikes_avx2.cpp -- the kernels of spike counts, AVX2
#include "sparse/spikes.inl.hpp"

namespace omniconv::sparse::avx2 {

const SpikeKernels& spike_kernels() {
  static constexpr SpikeKernels table = make_spike_kernels<1>();
  return table;
}

}  // namespace omniconv::sparse::avx2
