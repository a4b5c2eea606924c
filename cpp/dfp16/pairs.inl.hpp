// dfp16/pairs.inl.hpp -- tiles of products of int16 pairs, with chains of int32 that cannot overflow
//
// Computes sums of products of 16-bit integers exactly. One instruction multiplies two neighbours of a row by two
// neighbours of a column and adds both products to an int32 lane (vpdpwssd, or vpmaddwd and vpaddd; SMLAL elsewhere).
// Arithmetic wraps, so only the sum of a whole chain has to fit into 32 bits, not the sums on the way; who plans the
// segments has proven that it does (certificate.hpp). At the end of a chain s >> 16 is added to an int32 sum of its
// own, exact for 32767 chains, and s & 0xffff is what the next chain starts from; in the end both go to int64. Layout:
// rows are where they lie in memory, the same pieces of each; a column panel is [pair][2 vectors][2]. Registers: on
// AVX2 6 x 2 sums, 2 of the panel, a broadcast and a product are all 16; per pair and tile 12 multiplications and 12
// additions, 24 of the 4 a cycle that Zen 3 executes, against 8 loads: 32 products a cycle, twice what float32 does.
// AVX-512: 12 x 2 of 32. Rejected: wider sums in the inner loop (three instructions more a product).
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

typedef int32_t i32_mem __attribute__((vector_size(4 * kWidth), may_alias));

// sums = 2^16 high + low, added to what is there already.
template <int ROWS>
static OMNICONV_INLINE void widen(const i32_mem* high, const i32_mem* low, int64_t* to, bool add) {
  typedef int64_t i64_at __attribute__((vector_size(4 * kWidth), aligned(8), may_alias));
  typedef int32_t i32_half __attribute__((vector_size(2 * kWidth), may_alias));
  constexpr int kHalf = kWidth / 2;
#pragma GCC unroll 12
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v)
#pragma GCC unroll 2
      for (int part = 0; part < 2; ++part) {
        i32_half h, l;
        __builtin_memcpy(&h, reinterpret_cast<const int32_t*>(high + r * 2 + v) + part * kHalf, sizeof h);
        __builtin_memcpy(&l, reinterpret_cast<const int32_t*>(low + r * 2 + v) + part * kHalf, sizeof l);
        i64_at* sum = reinterpret_cast<i64_at*>(to + (r * 2 + v) * kWidth + part * kHalf);
        const i64_at here = (__builtin_convertvector(h, i64_at) << 16) + __builtin_convertvector(l, i64_at);
        *sum = add ? *sum + here : here;
      }
}

template <int ROWS, bool SPILL>
static OMNICONV_INLINE void run_pairs(const PairArgs& args) {
  constexpr int64_t kMostChains = 32767;
  const int16_t* rows[ROWS];
  for (int r = 0; r < ROWS; ++r) rows[r] = args.rows[r];
  // What chains leave behind, high halves or float32 sums, and room for the low ones. Through a pointer of unknown
  // origin: registers are for the inner loop, whose sums must not have an address either, or -O3 stores them each time.
  alignas(64) int32_t memory[2 * ROWS * 2 * kWidth];
  i32_mem* high = reinterpret_cast<i32_mem*>(memory);
  __asm__("" : "+r"(high));
  i32_mem* const low = high + 2 * ROWS;
  i32 sums[ROWS][2];
#pragma GCC unroll 12
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) high[r * 2 + v] = sums[r][v] = i32{};
  const auto keep_low = [&] {
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) low[r * 2 + v] = sums[r][v];
  };
  const int16_t* panel = args.panel;
  int64_t chains = 0;
  bool add = false;
  for (int64_t s = 0; s < args.count; ++s) {
    const Segment segment = args.segments[s];
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
    if (!segment.last) continue;
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        i32_mem& to = high[r * 2 + v];
        if constexpr (SPILL) {
          to = (i32_mem)((f32)to + __builtin_convertvector(sums[r][v], f32));
          sums[r][v] = i32{};
        } else {
          to += sums[r][v] >> 16;
          sums[r][v] &= 0xffff;
        }
      }
    if (SPILL || ++chains < kMostChains) continue;
    keep_low();
    widen<ROWS>(high, low, args.sums, add);
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) high[r * 2 + v] = sums[r][v] = i32{};
    add = true;
    chains = 0;
  }
  if constexpr (SPILL) {
#pragma GCC unroll 12
    for (int r = 0; r < ROWS * 2; ++r) store(args.spill + r * kWidth, (f32)high[r]);
  } else {
    keep_low();
    widen<ROWS>(high, low, args.sums, add);
  }
}

template <int ROWS>
static void pairs(const PairArgs& args) {
  args.spill ? run_pairs<ROWS, true>(args) : run_pairs<ROWS, false>(args);
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
