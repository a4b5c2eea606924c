// sparse/match.inl.hpp -- pairs of two sorted lists of keys under the taps of a kernel
//
// Which outputs have a partner is as good as random, and a branch on it that is guessed wrong costs as much as ten
// pairs. So the outputs of a vector count together how many inputs are below each, and a pair is written in any case
// and kept by moving the end of its list.
#pragma once

#include "simd/vec.hpp"
#include "sparse/kernels.hpp"

namespace omniconv::sparse {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

constexpr int kKeys = kWidth / 2;
static_assert(kKeys <= kMatchAhead);

typedef int64_t keys __attribute__((vector_size(8 * kKeys)));
typedef int64_t keys_unaligned __attribute__((vector_size(8 * kKeys), aligned(8), may_alias));

// Adds 1 where `key` is below what is wanted.
static OMNICONV_INLINE keys count_below(keys counts, int64_t key, keys wanted) {
#if defined(__AVX512F__)
  const __mmask8 below = _mm512_cmplt_epi64_mask(_mm512_set1_epi64(key), __m512i(wanted));
  return keys(_mm512_mask_add_epi64(__m512i(counts), below, __m512i(counts), _mm512_set1_epi64(1)));
#else
  return counts - (key < wanted);  // true is -1
#endif
}

#if defined(__AVX512F__)
// in[at]; from two registers if all are among the 16 keys from `base` on, for a gather takes as long as ten
// permutations.
static OMNICONV_INLINE __m512i pick(const int64_t* in, int64_t base, __m512i at, __mmask8 some) {
  const __m512i near = _mm512_sub_epi64(at, _mm512_set1_epi64(base));
  if (_mm512_mask_cmpge_epi64_mask(some, near, _mm512_set1_epi64(2 * kKeys)) != 0)
    return _mm512_mask_i64gather_epi64(_mm512_setzero_si512(), some, at, in, sizeof(int64_t));
  return _mm512_permutex2var_epi64(_mm512_loadu_si512(in + base), near, _mm512_loadu_si512(in + base + kKeys));
}
#endif

// Pairs of outputs [o, o + valid) of one tap: `at` is the first input that is not below what is wanted, and then behind
// the partner if there is one; the vector begins at `base`. Returns the end of the list.
static OMNICONV_INLINE SparsePair* emit(const int64_t* in, [[maybe_unused]] int64_t base, keys& at, keys wanted,
                                        int64_t o, int valid, SparsePair* to) {
#if defined(__AVX512F__)
  const __m512i place = __m512i(at);
  const __mmask8 some = __mmask8((1u << valid) - 1);
  const __mmask8 found = _mm512_mask_cmpeq_epi64_mask(some, __m512i(wanted), pick(in, base, place, some));
  const __m512i out = __m512i((keys{0, 1, 2, 3, 4, 5, 6, 7} + o) << 32);
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi64(found, _mm512_or_si512(place, out)));
  at = keys(_mm512_mask_add_epi64(place, found, place, _mm512_set1_epi64(1)));
  return to + __builtin_popcount(found);
#else
  for (int i = 0; i < valid; ++i) {
    const bool found = in[at[i]] == wanted[i];
    *to = {int32_t(at[i]), int32_t(o + i)};
    to += found, at[i] += found;
  }
  return to;
#endif
}

static void match(const MatchArgs<int64_t>& a) {
  for (int64_t r = 0; r < a.row_count; ++r) {
    const TapRow<int64_t>& row = a.rows[r];
    int64_t base = a.at[r];
    for (int64_t o = 0; o < a.count; o += kKeys) {
      const int valid = a.count - o < kKeys ? int(a.count - o) : kKeys;
      keys wanted = *reinterpret_cast<const keys_unaligned*>(a.out + o) + row.delta, at = base - keys{};
      const int64_t last = a.out[o + valid - 1] + row.delta;
      const int64_t first = base;
      for (; a.in[base + 3] < last; base += 4)
        for (int j = 0; j < 4; ++j) at = count_below(at, a.in[base + j], wanted);
      for (int j = 0; j < 3; ++j) at = count_below(at, a.in[base + j], wanted);
      for (int64_t t = row.tap; t < row.tap + row.taps; ++t, wanted += 1)
        a.to[t] = emit(a.in, first, at, wanted, o, valid, a.to[t]);
    }
    a.at[r] = base;
  }
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::sparse
