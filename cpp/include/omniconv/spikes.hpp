// omniconv/spikes.hpp -- convolution of spike counts over the sites of a grid: small whole numbers by 8-bit weights,
// exact
//
// Counts are bytes 0 .. D at the sites of a SparseMap, weights are int8, sums int32: the same integers on every ISA,
// whichever algorithm adds them. A neuron may follow within the same pass.
#pragma once

#include <cstdint>
#include <memory>

#include "omniconv/export.hpp"
#include "omniconv/sparse.hpp"

namespace omniconv {

// Dense [steps, rows, channels]: one or more time steps at the same sites. No count exceeds `most`.
struct SpikeRows {
  const uint8_t* counts = nullptr;
  int64_t steps = 1, rows = 0, channels = 0;
  int most = 255;
};

// int8 weights [Co, Ci / groups, taps], packed once for each vector length that is asked for. To be shared by threads.
class OMNICONV_API SpikeWeight {
 public:
  // weight: dense; copied. Error(not_supported) where taps * Ci / groups exceeds 2^16, so that sums fit 32 bits.
  SpikeWeight(const int8_t* weight, int64_t out_channels, int64_t in_channels, int64_t taps, int64_t groups = 1);
  ~SpikeWeight();
  SpikeWeight(const SpikeWeight&) = delete;
  SpikeWeight& operator=(const SpikeWeight&) = delete;

  int64_t out_channels() const;
  int64_t in_channels() const;  // of all groups
  int64_t taps() const;
  int64_t groups() const;

  struct State;
  const State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

// s = round(clip(u, 0, levels)); NaN does not fire. Halves go up, or to the even neighbour. levels 0: no neuron.
struct SpikeNeuron {
  int levels = 0;
  bool half_even = false;
};

// What becomes of the sums; every array is dense, [steps, rows of out, Co], or [Co] for scale and bias, or null.
// membrane = scale * float(sum) + bias + residual; spikes are those of the neuron at the membrane.
struct SpikeResult {
  const float *scale = nullptr, *bias = nullptr, *residual = nullptr;
  SpikeNeuron neuron;  // one step only
  int32_t* sums = nullptr;
  float* membrane = nullptr;
  uint8_t* spikes = nullptr;
};

// dense multiplies every count, events add the rows of weights of those that are not zero; both give the same sums.
// automatic measures the firing rate and takes the faster one.
enum class SpikeAlgorithm { automatic, dense, events, reference };

// Returns the algorithm that ran. Error(not_supported) if `events` is asked for counts above 128.
OMNICONV_API SpikeAlgorithm spike_convolve(const SparseMap& map, const SpikeRows& x, const SpikeWeight& weight,
                                           const SpikeResult& result,
                                           SpikeAlgorithm algorithm = SpikeAlgorithm::automatic);

// The part of the counts that is not zero; where there are more than 4096 rows, of 64 runs of 64.
OMNICONV_API double firing_rate(const SpikeRows& x);

// The firing rate below which `automatic` takes events on this ISA, for the channels of a group.
OMNICONV_API double event_threshold(int64_t in_channels, int64_t out_channels);

// The neuron alone: spikes[i] of membrane[i], i < count.
OMNICONV_API void fire(const float* membrane, int64_t count, const SpikeNeuron& neuron, uint8_t* spikes);

}  // namespace omniconv
