// conv/planar.hpp -- what the algorithms on planar tiles share
#pragma once

#include <algorithm>

#include "conv/algorithm.hpp"
#include "conv/blocks.hpp"

namespace omniconv::conv {

// Items cut into pieces of at most `most`, as even as can be.
struct Cuts {
  int64_t count, each, more;
  Cuts(int64_t items, int64_t most) : count(ceil_div(items, most)), each(items / count), more(items - each * count) {}
  int64_t size(int64_t i) const { return each + (i < more); }
};

// One tile of sums of `terms` terms, cut as multiply_panel cuts them.
inline void planar_sums(const Kernels& kernels, PlanarMode mode, PlanarArgs args, int64_t terms, int64_t vectors,
                        int64_t rows) {
  args.add = false;
  for (int64_t done = 0; done < terms; done += kSumBlock) {
    args.count = std::min(kSumBlock, terms - done);
    kernels.planar.tile[int(mode)][vectors][rows](args);
    args.offsets += args.count;
    args.w += args.count * args.w_term;
    args.add = true;
  }
}

}  // namespace omniconv::conv
