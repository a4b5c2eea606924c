// sparse/tile.inl.hpp -- the register tiles of dense convolution over rows that lie anywhere
//
// As in conv/tile.inl.hpp: ROWS x VECTORS accumulators, VECTORS of b, one broadcast of a; 6 x 2 of 16 registers with
// AVX2, 6 x 4 of 32 with AVX-512, where 64 columns pass at once: rows of a, which come from anywhere, are read once,
// and b of 64 terms is 16 KiB. A row of the output is loaded and stored once per tap: with 64 channels that is 24
// memory operations beside 768 multiply-adds. Each output is a chain of its own over k and a sum over taps, so it does
// not depend on which rows it shares a tile with.
#pragma once

#include "simd/vec.hpp"
#include "sparse/kernels.hpp"
#include "sparse/match.inl.hpp"
#include "sparse/pixels.inl.hpp"
#include "sparse/rows.inl.hpp"

namespace omniconv::sparse {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

constexpr int64_t kLine = 16;  // floats of a cache line

template <int ROWS, int VECTORS>
static OMNICONV_INLINE void multiply(const TileArgs& args, int64_t p) {
  f32 acc[ROWS][VECTORS];
  const float* a[ROWS];
  for (int i = 0; i < ROWS; ++i) {
    a[i] = args.a[p + i];
    for (int j = 0; j < VECTORS; ++j) acc[i][j] = zero();
  }
  // The rows of the next tile are fetched meanwhile: nothing but the list of pairs knows where they are.
  const float* const* next = args.a + (p + 2 * ROWS <= args.pairs ? p + ROWS : p);
  const float* b = args.b;
  for (int64_t line = 0; line < args.count; line += kLine) {
    for (int i = 0; i < ROWS; ++i) prefetch_read(next[i] + line);
    const int64_t end = args.count - line < kLine ? args.count : line + kLine;
    for (int64_t k = line; k < end; ++k, b += VECTORS * kWidth) {
      f32 bk[VECTORS];
      for (int j = 0; j < VECTORS; ++j) bk[j] = load(b + j * kWidth);
      for (int i = 0; i < ROWS; ++i) {
        const f32 aik = broadcast(a[i][k]);
        for (int j = 0; j < VECTORS; ++j) acc[i][j] = fma(aik, bk[j], acc[i][j]);
      }
    }
  }
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < VECTORS; ++j) {
      float* at = args.c[p + i] + args.shift + j * kWidth;
      store(at, load(at) + acc[i][j]);
    }
}

template <int ROWS, int VECTORS>
static OMNICONV_INLINE void multiply_rest(const TileArgs& args, int64_t p) {
  if constexpr (ROWS > 0) {
    if (p + ROWS == args.pairs) return multiply<ROWS, VECTORS>(args, p);
    multiply_rest<ROWS - 1, VECTORS>(args, p);
  }
}

template <int ROWS, int VECTORS>
static void tile(const TileArgs& args) {
  int64_t p = 0;
  for (; p + ROWS <= args.pairs; p += ROWS) multiply<ROWS, VECTORS>(args, p);
  multiply_rest<ROWS - 1, VECTORS>(args, p);
}

template <int ROWS, int VECTORS, bool FULL>
static OMNICONV_INLINE void accumulate(const OuterArgs& args, int row) {
  const int tail = args.lanes - (VECTORS - 1) * kWidth;
  f32 acc[ROWS][VECTORS];
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < VECTORS; ++j) acc[i][j] = zero();
  for (int64_t p = 0; p < args.pairs; ++p) {
    const float* a = args.a[p] + args.a_shift + row;
    const float* b = args.b[p] + args.b_shift;
    f32 bp[VECTORS];
    for (int j = 0; j < VECTORS; ++j)
      bp[j] = FULL || j < VECTORS - 1 ? load(b + j * kWidth) : load_partial(b + j * kWidth, tail);
    for (int i = 0; i < ROWS; ++i) {
      const f32 ai = broadcast(a[i]);
      for (int j = 0; j < VECTORS; ++j) acc[i][j] = fma(ai, bp[j], acc[i][j]);
    }
  }
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < VECTORS; ++j) {
      float* at = args.c + (row + i) * args.c_row + j * kWidth;
      store(at, load(at) + acc[i][j]);
    }
}

template <int ROWS, int VECTORS, bool FULL>
static OMNICONV_INLINE void accumulate_rest(const OuterArgs& args, int row) {
  if constexpr (ROWS > 0) {
    for (; row + ROWS <= args.rows; row += ROWS) accumulate<ROWS, VECTORS, FULL>(args, row);
    accumulate_rest<ROWS - (ROWS > 4 ? 2 : 1), VECTORS, FULL>(args, row);
  }
}

template <int ROWS, int VECTORS>
static void outer(const OuterArgs& args) {
  if (args.lanes == VECTORS * kWidth)
    accumulate_rest<ROWS, VECTORS, true>(args, 0);
  else
    accumulate_rest<ROWS, VECTORS, false>(args, 0);
}

// ROWS of tiles of two vectors, WIDE of tiles of four; none where that many registers are not there.
template <int ROWS, int WIDE>
static constexpr Kernels make_kernels() {
  static_assert(ROWS <= kMaxRows);
  Kernels k{};
  k.lanes = kWidth, k.rows = ROWS;
  k.panel = WIDE > 0 ? 4 : 2;
  k.tile[1] = tile<ROWS, 1>, k.tile[2] = tile<ROWS, 2>;
  if constexpr (WIDE > 0) k.tile[3] = tile<WIDE, 3>, k.tile[4] = tile<WIDE, 4>;
  k.outer[1] = outer<ROWS, 1>, k.outer[2] = outer<ROWS, 2>;
  k.match = match, k.spmm = spmm, k.pixels = pixels;
  return k;
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::sparse
