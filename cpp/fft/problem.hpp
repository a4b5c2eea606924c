// fft/problem.hpp -- what a description comes down to: a range of lags, and blocks of a transform
#pragma once

#include <algorithm>

#include "omniconv/fft.hpp"

namespace omniconv::fft {

// y[o] = sum over lags l in [lo, hi] of w[l] v[t0 + o - l], o < out, v zero outside of [0, in) or, if circular,
// periodic.
struct Map {
  int64_t in = 0, out = 0, t0 = 0, lo = 0, hi = 0;
  bool circular = false;

  int64_t span() const { return hi - lo; }
  // The map whose matrix is the transpose of this one's.
  Map adjoint() const { return {out, in, -t0, -hi, -lo, circular}; }
};

// Throws where the description makes no sense.
Map make_map(const FftConvDesc& desc);

// Calls body(tap, count, lag, step) for runs of taps (reverse: of the other kernel) that some output needs: taps tap,
// tap + 1, ... have the lags lag, lag + step, ...
template <class Body>
void lag_runs(const FftConvDesc& d, const Map& m, bool reverse, Body&& body) {
  const int64_t taps = reverse ? d.reverse_taps : d.taps, n = d.length;
  if (m.circular && m.lo == 0 && m.hi == n - 1) {  // taps fold
    for (int64_t tap = 0; tap < taps; tap += n) {
      if (!reverse) {
        body(tap, std::min(n, taps - tap), int64_t{0}, int64_t{1});
        continue;
      }
      body(tap, int64_t{1}, int64_t{0}, int64_t{-1});
      if (tap + 1 < taps && n > 1) body(tap + 1, std::min(n - 1, taps - tap - 1), n - 1, int64_t{-1});
    }
    return;
  }
  const int64_t first = std::max<int64_t>(reverse ? -m.hi : m.lo, 0);
  const int64_t end = std::min(taps, (reverse ? -m.lo : m.hi) + 1);
  if (first < end) body(first, end - first, reverse ? -first : first, int64_t{reverse ? -1 : 1});
}

// One block of a transform of N = 2 points real elements: element i is v[first + i], lag l is element l - origin modulo
// N (with the sign changed where that wraps), output o is element o + shift. Blocks advance by `step`.
struct Geometry {
  int64_t points = 0, blocks = 1, step = 0;
  int64_t first = 0, origin = 0, shift = 0;  // of block 0; `first` grows by step, `shift` shrinks by it
  // Of a block of `step` outputs that are summed term by term, points being 0; 0: a transform.
  int64_t taps = 0;

  int64_t window(int64_t outputs) const { return taps ? outputs + taps - 1 : 2 * points; }  // elements of v
};

// One transform for the whole row: N >= every index in use, and no alias of an output that is taken.
Geometry whole_geometry(const Map& map, int lanes);
// Blocks of N - span outputs. points 0: the lags are too many for any block.
Geometry block_geometry(const Map& map, int lanes, int item_size);

// No transform: blocks that fit an L1 cache.
Geometry direct_geometry(const Map& map, int item_size);

double direct_cost(const Map& map, int lanes);
// Of transforms; 0 where there is none.
double geometry_cost(const Geometry& g, int lanes, int item_size);

}  // namespace omniconv::fft
