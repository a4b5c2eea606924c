// fft/rate.hpp -- rows at a lower rate: half-band filters down to it and up again
//
// A kernel without its high frequencies needs no transform of all samples. With D the filter that halves the rate and U
// the one that doubles it, U C D has the response of C below the frequency that is kept and none above: half-band
// filters pass as well as they stop, here to about the rounding of T, so that nothing is left to make good. U is the
// transpose of D but for a factor of two, so that the transpose of U C D is U C^T D.
#pragma once

#include <vector>

#include "fft/kernels.hpp"
#include "fft/problem.hpp"

namespace omniconv::fft {

// Taps at the odd places 1, 3, ... of both sides, for rows whose frequencies below `keep` times the highest stay:
// Kaiser's window. Empty where there would be more than kMaxHalfBandTaps.
std::vector<double> half_band_taps(DType dtype, double keep);

// Positions of a row at one rate; those of the whole rate are [0, L), each halving adds what the filter reaches.
struct RateLevel {
  int64_t first, end;
  int64_t count() const { return end - first; }
};
std::vector<RateLevel> rate_levels(DType dtype, int64_t length, double keep, int halvings);

// In the units of transform_cost.
double rate_cost(DType dtype, int64_t length, double keep, int halvings, int lanes);

// Halvings that take the least time; 0 where none saves any.
int best_halvings(DType dtype, int64_t length, double keep, int lanes);

// The map that a plan's transforms compute, at the lower rate if there is one. Throws where there is none.
Map map_of(const FftConvDesc& desc);

template <class T>
class Rate {
 public:
  Rate(const FftConvDesc& desc, const Kernels<T>& kernels);

  int64_t length() const { return levels_[0].end; }
  const RateLevel& lowest() const { return levels_.back(); }
  size_t bytes() const { return items_ * sizeof(T); }
  // The row at the lowest rate, from position lowest().first on, where up() takes it from.
  T* lowest(T* room) const { return room + at_.back(); }
  void down(const LoadArgs<T>& in, T* room, int threads) const;  // of `in` source and touch
  void up(const StoreArgs<T>& out, T* room, int threads) const;

 private:
  const Kernels<T>& kernels_;
  std::vector<RateLevel> levels_;
  std::vector<std::vector<T>> taps_;  // between level j and j + 1
  std::vector<int64_t> at_;           // where in the room a level begins; nowhere for level 0
  int64_t items_ = 0;
};

}  // namespace omniconv::fft
