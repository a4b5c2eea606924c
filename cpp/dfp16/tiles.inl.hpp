// dfp16/tiles.inl.hpp -- exact products of int16 on a matrix unit of bytes (AMX)
//
// Computes: a 16-bit integer is 256 h + l with a signed byte h and an unsigned byte l, so
// a b = 2^16 ha hb + 2^8 (ha lb + la hb) + la lb: four products of tiles of bytes, with sums of their own. With K terms
// |sum ha hb| <= K 2^14, |sum ha lb| <= K 128 * 255, sum la lb <= K 255^2: all fit into 32 bits (the last without
// sign) up to K = 65793; a call takes fewer and adds its sums to int64. Layout: A is 16 rows of 64 bytes, B is [k /
// 4][16 columns][4]. Registers: four tiles of sums, two of each operand. A step of 64 terms is four products of 16
// cycles against four loads of 8, which hide behind them. Rejected: both mixed products in one tile (K <= 32896, and
// the two wait for each other: 1.7 times slower). The text is a template on the unit, so that it also runs, emulated,
// where there is none.
#pragma once

#include "dfp16/kernels.hpp"
#include "simd/vec.hpp"

namespace omniconv::dfp16 {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

inline constexpr int64_t kPlane = kTile * kTileDepth;  // bytes of a tile

#if defined(__AMX_INT8__)

// One instruction each, as assembly: GCC 12's own macros do not say that memory is read or written.
struct Unit {
  struct alignas(64) Config {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  };
  static void configure() {
    Config config;
    for (int t = 0; t < 8; ++t) config.row_bytes[t] = 64, config.rows[t] = 16;
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
  }
  static void release() { __asm__ volatile("tilerelease" : :); }

  OMNICONV_INLINE void zero() {
    __asm__ volatile("tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3" : :);
  }
  OMNICONV_INLINE void load(const uint8_t* a, const uint8_t* b) {
    const int64_t row = 64;
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm4" : : "r"(a), "r"(row) : "memory");
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm6" : : "r"(b), "r"(row) : "memory");
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm5" : : "r"(a + kPlane), "r"(row) : "memory");
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm7" : : "r"(b + kPlane), "r"(row) : "memory");
  }
  // The last operand of AT&T syntax is the sum, the one before it A.
  OMNICONV_INLINE void multiply() {
    __asm__ volatile("tdpbssd %%tmm6, %%tmm4, %%tmm0" : :);  // high high
    __asm__ volatile("tdpbsud %%tmm7, %%tmm4, %%tmm1" : :);  // high low
    __asm__ volatile("tdpbusd %%tmm6, %%tmm5, %%tmm2" : :);  // low high
    __asm__ volatile("tdpbuud %%tmm7, %%tmm5, %%tmm3" : :);  // low low
  }
  OMNICONV_INLINE void store(int32_t (*sums)[kTile * kTile]) {
    const int64_t row = 64;
    __asm__ volatile("tilestored %%tmm0, (%0,%1,1)" : : "r"(sums[0]), "r"(row) : "memory");
    __asm__ volatile("tilestored %%tmm1, (%0,%1,1)" : : "r"(sums[1]), "r"(row) : "memory");
    __asm__ volatile("tilestored %%tmm2, (%0,%1,1)" : : "r"(sums[2]), "r"(row) : "memory");
    __asm__ volatile("tilestored %%tmm3, (%0,%1,1)" : : "r"(sums[3]), "r"(row) : "memory");
  }
};

#else

// The same on plain memory, byte for byte as the instructions are documented: C[m][n] += sum over 4 of A[m][4k + i]
// B[k][4n + i], wrapping.
struct Unit {
  static void configure() {}
  static void release() {}
  const uint8_t *a = nullptr, *b = nullptr;
  uint32_t sums_[4][kTile * kTile];

  void zero() { __builtin_memset(sums_, 0, sizeof sums_); }
  void load(const uint8_t* from_a, const uint8_t* from_b) { a = from_a, b = from_b; }

  template <class A, class B>
  static void dot(uint32_t* c, const uint8_t* a, const uint8_t* b) {
    for (int m = 0; m < kTile; ++m)
      for (int k = 0; k < kTileDepth; ++k) {
        const int32_t factor = A(a[m * kTileDepth + k]);
        const uint8_t* row = b + (k / 4) * 64 + k % 4;
        for (int n = 0; n < kTile; ++n) c[m * kTile + n] += uint32_t(factor * int32_t(B(row[4 * n])));
      }
  }
  void multiply() {
    dot<int8_t, int8_t>(sums_[0], a, b);
    dot<int8_t, uint8_t>(sums_[1], a, b + kPlane);
    dot<uint8_t, int8_t>(sums_[2], a + kPlane, b);
    dot<uint8_t, uint8_t>(sums_[3], a + kPlane, b + kPlane);
  }
  void store(int32_t (*sums)[kTile * kTile]) { __builtin_memcpy(sums, sums_, sizeof sums_); }
};

#endif

static void multiply_tiles(const TileArgs& args) {
  Unit unit;
  alignas(64) int32_t parts[4][kTile * kTile];
  unit.zero();
  for (int64_t s = 0; s < args.steps; ++s) {
    unit.load(args.a + s * kTileBytes, args.b + s * kTileBytes);
    unit.multiply();
  }
  unit.store(parts);
  for (int m = 0; m < kTile; ++m)
    for (int n = 0; n < kTile; ++n) {
      const int at = m * kTile + n;
      args.sums[m * args.sums_row + n] += int64_t(parts[0][at]) * 65536 + (int64_t(parts[1][at]) + parts[2][at]) * 256 +
                                          int64_t(uint32_t(parts[3][at]));
    }
}

static void split_rows(const int16_t* values, int64_t row, int64_t length, uint8_t* a) {
  const int64_t steps = (length + kTileDepth - 1) / kTileDepth;
  for (int64_t s = 0; s < steps; ++s)
    for (int r = 0; r < kTile; ++r) {
      const int16_t* from = values + r * row + s * kTileDepth;
      const int64_t n = length - s * kTileDepth < kTileDepth ? length - s * kTileDepth : kTileDepth;
      uint8_t *high = a + s * kTileBytes + r * kTileDepth, *low = high + kPlane;
      if (n == kTileDepth) {
        for (int i = 0; i < kTileDepth; ++i) high[i] = uint8_t(uint16_t(from[i]) >> 8);
        for (int i = 0; i < kTileDepth; ++i) low[i] = uint8_t(from[i]);
        continue;
      }
      for (int i = 0; i < kTileDepth; ++i) {
        const uint16_t v = i < n ? uint16_t(from[i]) : 0;
        high[i] = uint8_t(v >> 8);
        low[i] = uint8_t(v);
      }
    }
}

static constexpr TileKernels kTileKernels = {Unit::configure, Unit::release, multiply_tiles, split_rows};

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::dfp16
