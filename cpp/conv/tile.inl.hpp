// conv/tile.inl.hpp -- the two register tiles every dense convolution runs on
//
// Registers: ROWS x VECTORS accumulators, VECTORS of b, one broadcast of a. With 32 registers 14 x 2 fills them:
// per step of k 2 + 14 loads feed 28 multiply-adds, so the two load ports (8 cycles) stay behind the two FMA ports
// (14 cycles), and a dozen row pointers may be reloaded from the stack without being seen. Measured with AVX-512,
// K = 576..4608, one thread: 124-135 GFLOP/s in some minutes of a shared machine, 88-98 in others, while multiply-adds
// on registers alone gave 107-133 throughout: loads are what neighbours slow down. 9 x 3 and 7 x 4 were no faster, and
// 14 x 2 reads the least of b.
// Every accumulator is one chain in the order of k: a result does not depend on where in a tile its pixel falls.
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
