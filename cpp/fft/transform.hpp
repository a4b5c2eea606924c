// fft/transform.hpp -- lengths a transform may have, and its table of roots
#pragma once

#include <memory>

#include "core/workspace.hpp"
#include "fft/kernels.hpp"

namespace omniconv::fft {

// The n >= least that takes the least time among those the passes can do: W * W times factors 2, 3 and 5.
int64_t cheapest_points(int64_t least, int lanes);

// Predicted time of one transform of n points, in arbitrary units: for comparing lengths and algorithms.
double transform_cost(int64_t points, int lanes, int item_size);

// Immutable; shared by all plans of one length.
template <class T>
class Tables {
 public:
  Tables(int64_t points, int lanes);
  const Transform<T>& transform() const { return transform_; }
  size_t bytes() const { return buffer_.size(); }

 private:
  Transform<T> transform_{};
  AlignedBuffer buffer_;
};

// The table of a length, made at its first use and kept for good: for those who may neither wait nor allocate later.
template <class T>
std::shared_ptr<const Tables<T>> kept_tables(int64_t points, int lanes);

}  // namespace omniconv::fft
