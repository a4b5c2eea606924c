// dfp16/pairs.inl.hpp -- tiles of products of int16 pairs, with chains of int32 that cannot overflow
//
// Computes sums of products of 16-bit integers exactly. One instruction multiplies two neighbours of a row by two
// neighbours of a column and adds both products to an int32 lane (vpdpwssd, or vpmaddwd and vpaddd; SMLAL elsewhere).
// Arithmetic wraps, so only the sum of a whole chain has to fit into 32 bits, not the sums on the way; who plans the
// segments has proven that it does (certificate.hpp). At the end of a chain the int32 sum s is split: s >> 16 and s &
// 0xffff go to two int32 sums of their own, exact for 32767 chains; then to int64. Layout: rows are where they lie in
// memory, the same pieces of each; a column panel is [pair][2 vectors][2]. Registers: on AVX2 6 x 2 sums, 2 of the
// panel, a broadcast and a product are all 16; per pair and tile 12 multiplications and 12 additions, 24 of the 4 a
// cycle that Zen 3 executes, against 8 loads: 32 products a cycle, twice what float32 does. AVX-512: 12 x 2 of 32.
// Rejected: wider sums in the inner loop (three instructions more a product).
#pragma once

#include "dfp16/kernels.hpp"
#include "simd/vec.hpp"

namespace omniconv::dfp16 {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

typedef uint32_t u32 __attribute__((vector_size(4 * kWidth)));
typedef int32_t i32_at_int16 __attribute__((vector_size(4 * kWidth), aligned(2), may_alias));
typedef int32_t int32_at_int16 __attribute__((aligned(2), may_alias));

// sums[lane] + a[2 lane] b[2 lane] + a[2 lane + 1] b[2 lane + 1], modulo 2^32.
static OMNICONV_INLINE i32 dot_pairs(i32 sums, i32 a, i32 b) {
#if defined(__AVX512VNNI__)
  return (i32)_mm512_dpwssd_epi32((__m512i)sums, (__m512i)a, (__m512i)b);
#elif defined(__AVX512F__)
  return (i32)((u32)sums + (u32)_mm512_madd_epi16((__m512i)a, (__m512i)b));
#elif defined(OMNICONV_VEC_AVX2)
  return (i32)((u32)sums + (u32)_mm256_madd_epi16((__m256i)a, (__m256i)b));
#elif defined(__x86_64__)
  return (i32)((u32)sums + (u32)_mm_madd_epi16((__m128i)a, (__m128i)b));
#else
  const i32 even = (i32)((u32)a << 16) >> 16, odd = a >> 16;
  const i32 b_even = (i32)((u32)b << 16) >> 16, b_odd = b >> 16;
  return (i32)((u32)sums + (u32)(even * b_even) + (u32)(odd * b_odd));
#endif
}

template <int ROWS>
static OMNICONV_INLINE void empty_exact(i32 (&sums)[ROWS][2], i32 (&high)[ROWS][2], i32 (&low)[ROWS][2]) {
#pragma GCC unroll 12
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      high[r][v] += sums[r][v] >> 16;
      low[r][v] += sums[r][v] & 0xffff;
    }
}

template <int ROWS>
static void widen(i32 (&high)[ROWS][2], i32 (&low)[ROWS][2], int64_t* to, bool add) {
  for (int r = 0; r < ROWS; ++r)
    for (int v = 0; v < 2; ++v) {
      for (int i = 0; i < kWidth; ++i) {
        int64_t& sum = to[(r * 2 + v) * kWidth + i];
        sum = (add ? sum : 0) + int64_t(high[r][v][i]) * 65536 + low[r][v][i];
      }
      high[r][v] = low[r][v] = i32{};
    }
}

template <int ROWS>
static void pairs(const PairArgs& args) {
  constexpr int64_t kMostChains = 32767;
  const int16_t* rows[ROWS];
  for (int r = 0; r < ROWS; ++r) rows[r] = args.rows[r];
  i32 high[ROWS][2] = {}, low[ROWS][2] = {};
  f32 spill[ROWS][2] = {};
  const int16_t* panel = args.panel;
  int64_t chains = 0;
  bool add = false;
  for (int64_t s = 0; s < args.count;) {
    i32 sums[ROWS][2] = {};
    bool last = false;
    for (; !last && s < args.count; ++s) {
      const Segment segment = args.segments[s];
      last = segment.last;
      const int16_t* at[ROWS];
#pragma GCC unroll 12
      for (int r = 0; r < ROWS; ++r) at[r] = rows[r] + segment.offset;
      for (int64_t p = 0; p < segment.pairs; ++p, panel += 4 * kWidth) {
        const i32 b0 = *reinterpret_cast<const i32_at_int16*>(panel);
        const i32 b1 = *reinterpret_cast<const i32_at_int16*>(panel + 2 * kWidth);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; ++r) {
          const i32 a = broadcast_i32(*reinterpret_cast<const int32_at_int16*>(at[r] + 2 * p));
          sums[r][0] = dot_pairs(sums[r][0], a, b0);
          sums[r][1] = dot_pairs(sums[r][1], a, b1);
        }
      }
    }
    if (args.spill) {
      for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < 2; ++v) spill[r][v] += __builtin_convertvector(sums[r][v], f32);
      continue;
    }
    empty_exact(sums, high, low);
    if (++chains == kMostChains) {
      widen(high, low, args.sums, add);
      add = true;
      chains = 0;
    }
  }
  if (args.spill) {
    for (int r = 0; r < ROWS; ++r)
      for (int v = 0; v < 2; ++v) store(args.spill + (r * 2 + v) * kWidth, spill[r][v]);
    return;
  }
  widen(high, low, args.sums, add);
}

// One vector of columns of a panel of `lanes`, from lane `place`: rows [column][pairs] are transposed. Pairs are moved
// as the 32 bits that they are.
static void pack_pairs(const int16_t* rows, int64_t row, int64_t pairs, int64_t lanes, int64_t place, int16_t* panel) {
  for (int64_t p = 0; p < pairs; p += kWidth) {
    const int64_t n = pairs - p < kWidth ? pairs - p : kWidth;
    if (n == kWidth) {
      f32 block[kWidth];
#pragma GCC unroll 16
      for (int c = 0; c < kWidth; ++c) block[c] = (f32) * reinterpret_cast<const i32_at_int16*>(rows + c * row + 2 * p);
      transpose(block);
#pragma GCC unroll 16
      for (int k = 0; k < kWidth; ++k)
        *reinterpret_cast<i32_at_int16*>(panel + 2 * ((p + k) * lanes + place)) = (i32)block[k];
      continue;
    }
    for (int c = 0; c < kWidth; ++c)
      for (int64_t k = 0; k < n; ++k)
        *reinterpret_cast<int32_at_int16*>(panel + 2 * ((p + k) * lanes + place + c)) =
            *reinterpret_cast<const int32_at_int16*>(rows + c * row + 2 * (p + k));
  }
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::dfp16
