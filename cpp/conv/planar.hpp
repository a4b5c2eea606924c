// conv/planar.hpp -- what the algorithms on planar tiles share
#pragma once

#include <algorithm>

#include "conv/algorithm.hpp"
#include "conv/blocks.hpp"

namespace omniconv::conv {

// Items cut into pieces of at most `most`, as even as can be.
struct Cuts {
  int64_t count, each, more;
  Cuts(int64_t items, int64_t most)
      : count(ceil_div(items, most)), each(items / std::max<int64_t>(count, 1)), more(items - each * count) {}
  int64_t size(int64_t i) const { return each + (i < more); }
  int64_t begin(int64_t i) const { return i * each + std::min(i, more); }
};

// One tile of sums of `terms` terms, cut as multiply_panel cuts them. `args` is no copy: copying what was just written
// in pieces waits for all earlier stores, those of the last tile to cold lines included (a third of the time of conv7).
inline void planar_sums(const Kernels& kernels, PlanarMode mode, PlanarArgs& args, int64_t terms, int64_t vectors,
                        int64_t rows) {
  const auto tile = kernels.planar.tile[int(mode)][vectors][rows];
  args.add = false;
  args.count = terms;
  if (terms <= kSumBlock) return tile(args);
  const int64_t* offsets = args.offsets;
  const float* w = args.w;
  for (int64_t done = 0; done < terms; done += kSumBlock) {
    args.count = std::min(kSumBlock, terms - done);
    args.offsets = offsets + done;
    args.w = w + done * args.w_term;
    tile(args);
    args.add = true;
  }
  args.offsets = offsets;
  args.w = w;
}

}  // namespace omniconv::conv
