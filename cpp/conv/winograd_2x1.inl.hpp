// conv/winograd_2x1.inl.hpp -- register tiles of two rows of output from chains of transformed rows
//
// A tile is channels x pixels as in planar.inl.hpp, once for each slot: a chain of `count` terms over one transformed
// row, then two multiply-adds a vector into the sums of both outputs, which lie in L1. Per chain of 21 terms, 4 x 3 on
// AVX2: 126 cycles of multiply-adds, at most 24 loads and stores for the sums, which run under the next chain.
#pragma once

#include "conv/cook_toom.hpp"
#include "conv/planar.inl.hpp"

namespace omniconv::conv {
namespace OMNICONV_ISA_NS {

// sums[i] = body(sums[i], acc[i]).
template <int ROWS, int VECTORS, class Body>
static OMNICONV_INLINE void row_pair_each(float* sums, f32 (&acc)[ROWS][VECTORS], Body body) {
#pragma GCC unroll 12
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 3
    for (int j = 0; j < VECTORS; ++j, sums += kWidth) store(sums, body(sums, acc[i][j]));
}

// sums += factor * acc. Most factors are 1 or -1, and sums of two have execution units of their own on Zen.
template <int ROWS, int VECTORS>
static OMNICONV_INLINE void row_pair_add(float* sums, float factor, f32 (&acc)[ROWS][VECTORS]) {
  if (factor == 1) {
    row_pair_each(sums, acc, [](const float* sum, f32 v) { return load(sum) + v; });
  } else if (factor == -1) {
    row_pair_each(sums, acc, [](const float* sum, f32 v) { return load(sum) - v; });
  } else if (factor != 0) {
    const f32 f = broadcast(factor);
    row_pair_each(sums, acc, [f](const float* sum, f32 v) { return fma(f, v, load(sum)); });
  }
}

template <int ROWS, int VECTORS>
static void row_pair_tile(const RowPairArgs& args) {
  constexpr int kFloats = ROWS * VECTORS * kWidth;
  float* const sums = args.sums;  // a local array GCC would keep in registers, and spill those
  for (int o = 0; o < 2; ++o)
    for (int i = 0; i < ROWS; ++i)
      for (int j = 0; j < VECTORS; j += 16 / kWidth) prefetch_write(args.c[o] + i * args.c_row + j * kWidth);
  const float *w = args.w, *slot = args.x;
  for (int64_t s = 0; s < args.slots; ++s, slot += args.slot_step) {
    f32 acc[ROWS][VECTORS];
    planar_zero(acc);
#pragma GCC unroll 2
    for (int64_t k = 0; k < args.count; ++k, w += args.w_term) {
      const float* x = slot + args.offsets[k];
      f32 xk[VECTORS];
      for (int j = 0; j < VECTORS; ++j) xk[j] = load(x + j * kWidth);
      for (int i = 0; i < ROWS; ++i) {
        const f32 wk = broadcast(w[i]);
        for (int j = 0; j < VECTORS; ++j) acc[i][j] = fma(wk, xk[j], acc[i][j]);
      }
    }
    const float* f = args.factors + 2 * s;
    if (s == 0) {  // point 0 of the first phase: the first output alone
      row_pair_each(sums, acc, [](const float*, f32 v) { return v; });
      row_pair_each(sums + kFloats, acc, [](const float*, f32) { return zero(); });
      continue;
    }
    row_pair_add(sums, f[0], acc);
    row_pair_add(sums + kFloats, f[1], acc);
  }
  const int last = args.lanes - (VECTORS - 1) * kWidth;
  for (int o = 0; o < 2; ++o) {
    f32 acc[ROWS][VECTORS];
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 3
      for (int j = 0; j < VECTORS; ++j) acc[i][j] = load(sums + o * kFloats + (i * VECTORS + j) * kWidth);
    planar_store_as<false>(args.c[o], args.c_row, last, acc);
  }
}

// B^T of F(2, TAPS) on TAPS + 1 rows, in place; the largest magnitude that was there, as an integer.
template <int TAPS>
static int32_t row_pair_transform(float* rows, int64_t row_step, int64_t floats) {
  static constexpr CookToom<2, TAPS> t{};
  i32 most = broadcast_i32(0);
  for (int64_t p = 0; p < floats; p += kWidth) {
    const int n = int(floats - p < kWidth ? floats - p : kWidth);
    f32 in[TAPS + 1];
#pragma GCC unroll 5
    for (int i = 0; i <= TAPS; ++i) {
      const float* from = rows + i * row_step + p;
      in[i] = n == kWidth ? load(from) : load_partial(from, n);
      const i32 size = as_i32(abs(in[i]));
      most = size > most ? size : most;
    }
    if constexpr (TAPS == 1) continue;
#pragma GCC unroll 5
    for (int i = 0; i <= TAPS; ++i) {
      f32 sum = zero();
#pragma GCC unroll 5
      for (int j = 0; j <= TAPS; ++j) {
        const float b = float(t.b[i][j]);
        if (b != 0) sum = b == 1 ? sum + in[j] : b == -1 ? sum - in[j] : fma(broadcast(b), in[j], sum);
      }
      float* to = rows + i * row_step + p;
      n == kWidth ? store(to, sum) : store_partial(to, sum, n);
    }
  }
  int32_t lanes[kWidth], max = 0;
  store_i32(lanes, most);
  for (int32_t lane : lanes) max = lane > max ? lane : max;
  return max;
}

template <int VECTORS, int ROWS>
static OMNICONV_INLINE void fill_row_pairs(RowPairKernels& k) {
  if constexpr (ROWS > 0) {
    k.tile[VECTORS][ROWS] = row_pair_tile<ROWS, VECTORS>;
    fill_row_pairs<VECTORS, ROWS - 1>(k);
  } else if constexpr (VECTORS > 1) {
    fill_row_pairs<VECTORS - 1, planar_rows(VECTORS - 1)>(k);
  }
}

static RowPairKernels row_pair_kernels() {
  RowPairKernels k{};
  fill_row_pairs<kMaxPlanarVectors, planar_rows(kMaxPlanarVectors)>(k);
  k.transform[1] = row_pair_transform<1>;
  k.transform[2] = row_pair_transform<2>;
  k.transform[3] = row_pair_transform<3>;
  k.transform[4] = row_pair_transform<4>;
  return k;
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::conv
