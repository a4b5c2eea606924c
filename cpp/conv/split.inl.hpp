// conv/split.inl.hpp -- float32 products on a bfloat16 matrix unit (AMX)
//
// Computes: a float32 number is the sum of three bfloat16 numbers, a = a1 + a2 + a3, each the rounding of what is left
// (8 + 8 + 8 bits of significand). Of the nine products of two such sums six are kept: a1 b1, a1 b2, a2 b1, a2 b2,
// a1 b3, a3 b1. A part is at most 2^-8 of the one before, so each of those left out is at most 2^-24 of a * b, a
// rounding of float32. The unit adds in float32. With K = 4608 normal terms the error is 5e-7 (relative L2), where one
// chain of float32 multiply-adds has 1.2e-6 and im2win, which cuts its sums, 4e-7. Range: the unit takes subnormal
// parts for zero, and parts of an infinity are not finite. So values must be zero or of magnitude 2^-50 to 2^60: then
// a1 b3 and a3 b1 are normal numbers (2^-123 and above), and a2 b2, where it is not, is below 2^-26 of a * b; no
// product exceeds 2^120, and a sum that overflows would do so in float32. Any other value is stored as zero, and
// whoever packs is told; the windows that hold one go through the float32 tiles. Layout: A is windows of 32 elements
// (64 bytes) a row; B is pairs of k, as TDPBF16PS wants it. Registers: 2 x 2 accumulators of 16 x 16, two tiles of each
// operand. 24 products (16 cycles each) need 14 loads (8 cycles each), in an order in which every next product changes
// one operand only. Reference: Henry, Tang, Heinecke, "Leveraging the bfloat16 artificial intelligence datatype", ARITH
// 2019.
#pragma once

#include "conv/kernels.hpp"
#include "conv/pack.inl.hpp"
#include "simd/vec.hpp"

namespace omniconv::conv {
namespace OMNICONV_ISA_NS {

// ---- one instruction each: assembly, for GCC 12's own macros do not say that memory is read or written -------------

#define OMNICONV_TILE_LOAD(tile, base, stride) \
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(base), "r"(int64_t(stride)) : "memory")
#define OMNICONV_TILE_STORE(tile, base, stride) \
  __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" : : "r"(base), "r"(int64_t(stride)) : "memory")
#define OMNICONV_TILE_ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile : :)
#define OMNICONV_TILE_DOT(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c : :)

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Tiles 0-3: sums, 4-5: A, 6-7: B.
static void split_configure(int rows) {
  TileConfig config;
  for (int t = 0; t < 8; ++t) {
    config.row_bytes[t] = 64;
    config.rows[t] = uint8_t(t < 6 ? rows : 16);
  }
  __asm__ volatile("ldtilecfg %0" : : "m"(config));
}

static void split_release() { __asm__ volatile("tilerelease" : :); }

// ---- splitting -----------------------------------------------------------------------------------------------------

struct Parts {
  __m256i part[3];
};

// Vector extensions here: GCC 12 warns of an uninitialised operand inside the plain conversions and shifts.
typedef uint16_t u16x16 __attribute__((vector_size(32)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
static OMNICONV_INLINE u32x16 to_u32(__m256i part) { return __builtin_convertvector((u16x16)part, u32x16); }
static OMNICONV_INLINE f32 widen(__m256i part) { return (f32)(to_u32(part) << 16); }

static OMNICONV_INLINE Parts split(f32 v, uint32_t& unusual) {
  const __m512i magnitude = _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff));
  const __mmask16 nonzero = _mm512_test_epi32_mask(magnitude, magnitude);
  const __mmask16 outside =
      _mm512_mask_cmpgt_epu32_mask(nonzero, _mm512_sub_epi32(magnitude, _mm512_set1_epi32(kSplitLowest)),
                                   _mm512_set1_epi32(kSplitHighest - kSplitLowest));
  unusual |= outside;
  v = _mm512_maskz_mov_ps(__mmask16(~outside), v);
  Parts p;
  p.part[0] = (__m256i)_mm512_cvtneps_pbh(v);
  const f32 rest = v - widen(p.part[0]);
  p.part[1] = (__m256i)_mm512_cvtneps_pbh(rest);
  p.part[2] = (__m256i)_mm512_cvtneps_pbh(rest - widen(p.part[1]));
  return p;
}

template <>
struct Store<Part> {
  static OMNICONV_INLINE void put(const PackArgsOf<Part>& args, Part* at, f32 v, int n, uint32_t& unusual) {
    const __mmask16 lanes = __mmask16((1u << n) - 1);
    const Parts p = split(n == kWidth ? v : _mm512_maskz_mov_ps(lanes, v), unusual);
    for (int i = 0; i < 3; ++i, at += args.plane) {
      if (n == kWidth)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), p.part[i]);
      else
        _mm256_mask_storeu_epi16(at, lanes, p.part[i]);
    }
  }
};

static uint32_t split_pack_weights(const float* panel, int64_t length, int64_t lanes, Part* out) {
  uint32_t unusual = 0;
  for (int64_t k0 = 0; k0 < length; k0 += 32)
    for (int64_t pair = 0; pair < 16; ++pair)
      for (int64_t j = 0; j < lanes; j += 16) {
        const int64_t k = k0 + 2 * pair;
        const Parts even = split(k < length ? load(panel + k * lanes + j) : zero(), unusual);
        const Parts odd = split(k + 1 < length ? load(panel + (k + 1) * lanes + j) : zero(), unusual);
        for (int i = 0; i < 3; ++i) {
          // [chunk][part][16 channels][pair][channel][2]
          Part* at = out + ((k0 / 32 * 3 + i) * (lanes / 16) + j / 16) * 512 + pair * 32;
          _mm512_storeu_si512(at, (__m512i)(to_u32(even.part[i]) | to_u32(odd.part[i]) << 16));
        }
      }
  return unusual;
}

// ---- product -------------------------------------------------------------------------------------------------------

template <int A_TILES, int B_TILES>
static OMNICONV_INLINE void load_a(const Part* const (&a)[2], int64_t step) {
  OMNICONV_TILE_LOAD(4, a[0], step);
  if constexpr (A_TILES == 2) OMNICONV_TILE_LOAD(5, a[1], step);
}

template <int A_TILES, int B_TILES>
static OMNICONV_INLINE void load_b(const Part* b) {
  OMNICONV_TILE_LOAD(6, b, 64);
  if constexpr (B_TILES == 2) OMNICONV_TILE_LOAD(7, b + 512, 64);
}

template <int A_TILES, int B_TILES>
static OMNICONV_INLINE void dot() {
  OMNICONV_TILE_DOT(0, 4, 6);
  if constexpr (B_TILES == 2) OMNICONV_TILE_DOT(1, 4, 7);
  if constexpr (A_TILES == 2) OMNICONV_TILE_DOT(2, 5, 6);
  if constexpr (A_TILES == 2 && B_TILES == 2) OMNICONV_TILE_DOT(3, 5, 7);
}

template <int A_TILES, int B_TILES>
static void split_multiply_tiles(const SplitTileArgs& args) {
  const int64_t c_stride = args.c_stride * int64_t(sizeof(float));
  if (args.from[0]) {
    OMNICONV_TILE_LOAD(0, args.from[0], c_stride);
    if constexpr (B_TILES == 2) OMNICONV_TILE_LOAD(1, args.from[0] + 16, c_stride);
    if constexpr (A_TILES == 2) OMNICONV_TILE_LOAD(2, args.from[1], c_stride);
    if constexpr (A_TILES == 2 && B_TILES == 2) OMNICONV_TILE_LOAD(3, args.from[1] + 16, c_stride);
  } else {
    OMNICONV_TILE_ZERO(0);
    OMNICONV_TILE_ZERO(1);
    OMNICONV_TILE_ZERO(2);
    OMNICONV_TILE_ZERO(3);
  }
  for (int64_t i = 0; i < args.touch_count; ++i) prefetch_write(args.touch + i * args.touch_step);
  constexpr int64_t kBPart = 512 * B_TILES;
  const int64_t step = args.a_step * int64_t(sizeof(Part)), plane = args.a_plane;
  const Part* b = args.b + args.first * 3 * kBPart;
  int64_t segment = args.first / args.chunks, chunk = args.first % args.chunks;
  for (int64_t i = 0; i < args.count; ++i, b += 3 * kBPart) {
    const int64_t at = segment * args.segment_step + chunk * 32;
    if (++chunk == args.chunks) chunk = 0, ++segment;
    const Part* a1[2] = {args.a[0] + at, args.a[1] + at};
    const Part* a2[2] = {a1[0] + plane, a1[1] + plane};
    const Part* a3[2] = {a2[0] + plane, a2[1] + plane};
    load_a<A_TILES, B_TILES>(a3, step);
    load_b<A_TILES, B_TILES>(b);
    dot<A_TILES, B_TILES>();  // a3 b1
    load_a<A_TILES, B_TILES>(a1, step);
    dot<A_TILES, B_TILES>();  // a1 b1
    load_b<A_TILES, B_TILES>(b + 2 * kBPart);
    dot<A_TILES, B_TILES>();  // a1 b3
    load_b<A_TILES, B_TILES>(b + kBPart);
    dot<A_TILES, B_TILES>();  // a1 b2
    load_a<A_TILES, B_TILES>(a2, step);
    dot<A_TILES, B_TILES>();  // a2 b2
    load_b<A_TILES, B_TILES>(b);
    dot<A_TILES, B_TILES>();  // a2 b1
  }
  OMNICONV_TILE_STORE(0, args.c[0], c_stride);
  if constexpr (B_TILES == 2) OMNICONV_TILE_STORE(1, args.c[0] + 16, c_stride);
  if constexpr (A_TILES == 2) OMNICONV_TILE_STORE(2, args.c[1], c_stride);
  if constexpr (A_TILES == 2 && B_TILES == 2) OMNICONV_TILE_STORE(3, args.c[1] + 16, c_stride);
}

static void split_multiply(const SplitTileArgs& args) {
  if (args.a[1])
    args.b_tiles == 2 ? split_multiply_tiles<2, 2>(args) : split_multiply_tiles<2, 1>(args);
  else
    args.b_tiles == 2 ? split_multiply_tiles<1, 2>(args) : split_multiply_tiles<1, 1>(args);
}

#undef OMNICONV_TILE_LOAD
#undef OMNICONV_TILE_STORE
#undef OMNICONV_TILE_ZERO
#undef OMNICONV_TILE_DOT

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::conv
