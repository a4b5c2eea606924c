// sparse/spikes_avx512vnni.cpp -- the kernels of spike counts, AVX-512 with VNNI
#include "sparse/spikes.inl.hpp"

namespace omniconv::sparse::avx512vnni {

const SpikeKernels& spike_kernels() {
  static constexpr SpikeKernels table = make_spike_kernels<4>();
  return table;
}

}  // namespace omniconv::sparse::avx512vnni
