// conv/tile.inl.hpp -- the two register tiles every dense convolution runs on
//
// Registers: ROWS x VECTORS accumulators, VECTORS of b, one broadcast of a. Of 32 registers 14 x 2 takes 31, 9 x 3 as
// many, 6 x 4 29 (7 x 4 spills). Per step of k 14 x 2 loads 2 + 14 vectors, fetches 2 lines of b and reloads some of
// its 14 row pointers for 28 multiply-adds; 9 x 3 loads 3 + 9 for 27, 6 x 4 4 + 6 for 24. Loads are what neighbours on
// a shared core slow down: on a Skylake server, one thread, K = 64 to 1536, 9 x 3 and 6 x 4 gave 1.07-1.2 times the
// rate of 14 x 2, and layers of 1x1 with channels last 1.04-1.46 times (AVX2: no difference between 6 x 2, 4 x 3, 3 x
// 4). 14 x 2 reads b least often, which only Winograd on planes of 7x7 notices: 0.9. Every accumulator is one chain in
// the order of k: a result does not depend on where in a tile its pixel falls.
#pragma once

#include "conv/kernels.hpp"
#include "simd/vec.hpp"

namespace omniconv::conv {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

// b is read once from L3 where tiles are few, as in Winograd. 2 KiB ahead is some 100 cycles, twice the latency of L3:
// 77 instead of 61 GFLOP/s with 36 x 2 tiles of 5 x 2, K = 256 on AVX2; 1 KiB and 4 KiB gain less, and where b stays in
// L1 it costs nothing.
constexpr int64_t kAhead = 512;

template <int ROWS, int VECTORS>
static OMNICONV_INLINE void store_tile(f32 (&acc)[ROWS][VECTORS], float* c, int64_t c_row, bool add) {
  for (int i = 0; i < ROWS; ++i, c += c_row)
    for (int j = 0; j < VECTORS; ++j) {
      float* at = c + j * kWidth;
      store(at, add ? load(at) + acc[i][j] : acc[i][j]);
    }
}

template <int ROWS, int VECTORS>
static void tile(const TileArgs& args) {
  f32 acc[ROWS][VECTORS];
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < VECTORS; ++j) acc[i][j] = zero();
  for (int64_t i = 0; i < args.touch_count; ++i) prefetch_write(args.touch + i * args.touch_step);
  const float* b = args.b;
  const int64_t later = args.later ? args.later - b : kAhead;
  int64_t segment = args.segment, offset = args.offset, left = args.count, until = args.sum_block;
  const int64_t c_row = args.c_row ? args.c_row : VECTORS * kWidth;
  bool add = args.add;
  while (left > 0) {
    int64_t count = args.segment_length - offset;
    if (count > left) count = left;
    if (count > until) count = until;
    const float* a[ROWS];
    for (int i = 0; i < ROWS; ++i) a[i] = args.rows[segment * args.row_step + i] + segment * args.element_step + offset;
    for (int64_t k = 0; k < count; ++k) {
      for (int j = 0; j < VECTORS * kWidth; j += 16) prefetch_read(b + j + kAhead);
      prefetch_later(b + later);
      f32 bk[VECTORS];
      for (int j = 0; j < VECTORS; ++j) bk[j] = load(b + j * kWidth);
      for (int i = 0; i < ROWS; ++i) {
        const f32 aik = broadcast(a[i][k]);
        for (int j = 0; j < VECTORS; ++j) acc[i][j] = fma(aik, bk[j], acc[i][j]);
      }
      b += VECTORS * kWidth;
    }
    left -= count;
    until -= count;
    offset += count;
    if (offset == args.segment_length) offset = 0, ++segment;
    if (until > 0 || left == 0) continue;
    store_tile<ROWS, VECTORS>(acc, args.c, c_row, add);
    for (int i = 0; i < ROWS; ++i)
      for (int j = 0; j < VECTORS; ++j) acc[i][j] = zero();
    add = true;
    until = args.sum_block;
  }
  store_tile<ROWS, VECTORS>(acc, args.c, c_row, add);
}

template <int ROWS, int VECTORS>
static void outer(const OuterArgs& args) {
  f32 acc[ROWS][VECTORS];
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < VECTORS; ++j) acc[i][j] = zero();
  const float* b = args.b;
  for (int64_t p = 0; p < args.count; ++p, b += VECTORS * kWidth) {
    const float* a = args.rows[p] + args.offset;
    f32 bp[VECTORS];
    for (int j = 0; j < VECTORS; ++j) bp[j] = load(b + j * kWidth);
    for (int i = 0; i < ROWS; ++i) {
      const f32 ai = broadcast(a[i]);
      for (int j = 0; j < VECTORS; ++j) acc[i][j] = fma(ai, bp[j], acc[i][j]);
    }
  }
  store_tile<ROWS, VECTORS>(acc, args.c, args.c_row ? args.c_row : VECTORS * kWidth, args.add);
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::conv
