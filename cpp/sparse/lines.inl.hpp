// sparse/lines.inl.hpp -- partners of lines of sites under the taps of one row of a kernel
//
// An ISA unit because of one instruction: a site's row is its line's first one and the number of bits below its own,
// and the x86-64 baseline counts bits by a call.
#pragma once

#include "simd/vec.hpp"
#include "sparse/kernels.hpp"

namespace omniconv::sparse {
namespace OMNICONV_ISA_NS {

static OMNICONV_INLINE int32_t rank(uint64_t mask, unsigned bit) {
  return __builtin_popcountll(mask & ((uint64_t{1} << bit) - 1));
}

// Bits of `found` are outputs; the input of bit b is bit b + shift of `in`.
static OMNICONV_INLINE int32_t emit(const LineArgs& a, int64_t out, uint64_t found, int64_t in, int shift,
                                    SparsePair* to, int32_t count) {
  for (; found; found &= found - 1) {
    const unsigned bit = unsigned(__builtin_ctzll(found));
    const int64_t place = a.in.first[in] + rank(a.in.masks[in], unsigned(int(bit) + shift));
    to[count++] = {a.order[place], int32_t(a.out.first[out] - a.base) + rank(a.out.masks[out], bit)};
  }
  return count;
}

static void match_lines(const LineArgs& a) {
  const uint64_t lowest = a.delta + uint64_t(a.low >> 6);  // the field's borrow is undone by adding a line's key
  const uint64_t span = uint64_t((a.low + a.step * (a.taps - 1)) >> 6) - uint64_t(a.low >> 6) + 1;
  int64_t at = 0;
  for (int64_t half = a.in.count; half > 0;) {  // lower bound
    const int64_t middle = half / 2;
    if (a.in.keys[at + middle] < a.out.keys[a.begin] + lowest)
      at += middle + 1, half -= middle + 1;
    else
      half = middle;
  }
  for (int64_t o = a.begin; o < a.end; ++o) {
    const uint64_t key = a.out.keys[o] + lowest;
    while (at < a.in.count && a.in.keys[at] < key) ++at;
    if (at == a.in.count) return;
    if (a.in.keys[at] > key + span) continue;
    int64_t near = at;
    for (int64_t t = 0; t < a.taps; ++t) {
      const int64_t c = a.low + a.step * t;
      const uint64_t wanted = a.out.keys[o] + a.delta + uint64_t(c >> 6);
      const int shift = int(c & 63);
      while (near < a.in.count && a.in.keys[near] < wanted) ++near;
      if (near == a.in.count) break;
      SparsePair* to = a.pairs + t * a.tap_step;
      int64_t behind = near;
      if (a.in.keys[near] == wanted) {
        a.counts[t] = emit(a, o, a.out.masks[o] & (a.in.masks[near] >> shift), near, shift, to, a.counts[t]);
        ++behind;
      }
      if (shift && behind < a.in.count && a.in.keys[behind] == wanted + 1)
        a.counts[t] =
            emit(a, o, a.out.masks[o] & (a.in.masks[behind] << (64 - shift)), behind, shift - 64, to, a.counts[t]);
    }
  }
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::sparse
