// sparse/spike_kernels.hpp -- what an ISA provides to convolution of spike counts: plain functions on plain memory
#pragma once

#include <cstdint>

#include "sparse/kernels.hpp"

namespace omniconv::sparse {

// Output `out` of a pair is row `out` of `sums`, rows `width` numbers apart. A kernel adds to the columns from `shift`
// on what the pairs of one tap give.
struct SpikeSums {
  const SparsePair* pairs;
  int64_t count;
  int32_t* sums;
  int64_t width, shift;
};

// Steps of four channels: b is [step][vectors][lanes][4]. A chain of `chain` steps cannot overflow, see spikes.inl.hpp.
struct SpikeTileArgs {
  SpikeSums to;
  const uint8_t* x;
  int64_t x_step;
  const int8_t* b;
  int64_t steps, chain;
};

// Two channels that fire, and how often each does. The second may be channel 0, zero times.
struct SpikeEvent {
  uint16_t channel[2];
  uint8_t count[2];
  uint16_t unused;
};

// Row i of the input has events[begin[i]] to events[begin[i + 1] - 1]. b is [channel][groups][4 lanes], each group in
// the order of event_place.
struct SpikeEventArgs {
  SpikeSums to;
  const SpikeEvent* events;
  const int64_t* begin;
  const int8_t* b;
  int64_t chain;  // events
};

// One row: membrane = scale * float(sums) + bias + residual, spikes its neuron's; what is null is left out. Without
// sums the membrane is the residual. Sums are readable to a whole vector.
struct SpikeFinishArgs {
  const int32_t* sums;
  const float *scale, *bias, *residual;
  float* membrane;
  uint8_t* spikes;
  int64_t count;
  float levels;
  bool half_even;
};

struct SpikeKernels {
  int lanes;                                 // int32 per vector
  void (*narrow[9])(const SpikeTileArgs&);   // [vectors per panel]; counts to 128, chains of 16 bits
  void (*wide[9])(const SpikeTileArgs&);     // counts to 255, any chain
  void (*events[5])(const SpikeEventArgs&);  // [groups of 4 lanes], 64 columns at most
  void (*finish)(const SpikeFinishArgs&);
};

// Where column j of a group of 4 lanes stands: so that interleaving two rows leaves columns in order.
inline int64_t event_place(int64_t j, int lanes) {
  const int64_t half = 2 * lanes;
  return j % half / 8 * 16 + j / half * 8 + j % 8;
}

const SpikeKernels& spike_kernels();  // of the current ISA

#define OMNICONV_SPIKE_ISA(isa)        \
  namespace isa {                      \
  const SpikeKernels& spike_kernels(); \
  }
OMNICONV_SPIKE_ISA(scalar)
OMNICONV_SPIKE_ISA(neon)
OMNICONV_SPIKE_ISA(avx2)
OMNICONV_SPIKE_ISA(avx512)
OMNICONV_SPIKE_ISA(avx512vnni)
#undef OMNICONV_SPIKE_ISA

}  // namespace omniconv::sparse
