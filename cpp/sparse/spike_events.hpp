// sparse/spike_events.hpp -- the counts of rows that are not zero, as lists
#pragma once

#include "core/workspace.hpp"
#include "omniconv/spikes.hpp"
#include "sparse/spike_kernels.hpp"

namespace omniconv::sparse {

// Of `rows` rows of `channels` counts, row_step apart.
int64_t count_events(const uint8_t* counts, int64_t rows, int64_t channels, int64_t row_step);

class EventLists {
 public:
  EventLists(const uint8_t* counts, int64_t rows, int64_t channels, int64_t row_step);
  const SpikeEvent* events() const { return static_cast<const SpikeEvent*>(events_.data()); }
  const int64_t* begin() const { return static_cast<const int64_t*>(begin_.data()); }

 private:
  AlignedBuffer begin_, events_;
};

}  // namespace omniconv::sparse
