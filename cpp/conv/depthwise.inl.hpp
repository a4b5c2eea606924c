// conv/depthwise.inl.hpp -- depthwise sums whose lanes are channels
//
// A tile is a column of outputs of one vector of channels. TAPS weights stay in registers while the input goes by once:
// every vector of it is read for all outputs and taps that meet in it. 7 taps and 14 outputs: 20 loads of x and 7 of w
// for 98 multiply-adds. Registers: 14 sums, 7 weights and one of x of 32 (AVX-512, NEON); 7, 7 and 1 of 16 elsewhere.
// Every sum is one chain in the order of tile.inl.hpp, with the same cuts, so the bits are the same.
#pragma once

#include <utility>

#include "conv/kernels.hpp"
#include "simd/vec.hpp"

namespace omniconv::conv {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

// acc[i] += w[t] x for the outputs i and taps t that meet in row J of the input, i * STRIDE + t = J.
template <int J, int STRIDE, int ROWS, int TAPS>
static OMNICONV_INLINE void depthwise_row(f32 (&acc)[ROWS], const f32 (&w)[TAPS], f32 x) {
#pragma GCC unroll 7
  for (int t = 0; t < TAPS; ++t)
    if (J >= t && (J - t) % STRIDE == 0 && (J - t) / STRIDE < ROWS)
      acc[(J - t) / STRIDE] = fma(w[t], x, acc[(J - t) / STRIDE]);
}

template <int STRIDE, int ROWS, int TAPS, int... J>
static OMNICONV_INLINE void depthwise_window(f32 (&acc)[ROWS], const float* w, const float* const* rows, int64_t at,
                                             std::integer_sequence<int, J...>) {
  f32 taps[TAPS];
#pragma GCC unroll 7
  for (int t = 0; t < TAPS; ++t) taps[t] = load(w + t * kWidth);
  (depthwise_row<J, STRIDE>(acc, taps, load(rows[J] + at)), ...);
}

template <int ROWS>
static OMNICONV_INLINE void depthwise_store(float* c, int64_t c_row, int64_t outputs, int64_t lanes,
                                            const f32 (&acc)[ROWS]) {
#pragma GCC unroll 14
  for (int i = 0; i < ROWS; ++i, c += c_row) {
    if (i >= outputs) break;
    if (lanes >= kWidth)
      store(c, acc[i]);
    else
      store_partial(c, acc[i], int(lanes));
  }
}

// The chains of one vector, at x offset `at`; returns the weights of the next one.
template <int ROWS, int TAPS, int STRIDE>
static OMNICONV_INLINE const float* depthwise_sums(const DepthwiseArgs& a, const float* w, int64_t at,
                                                   f32 (&acc)[ROWS]) {
  f32 total[ROWS];
#pragma GCC unroll 14
  for (int i = 0; i < ROWS; ++i) acc[i] = zero();
  const int64_t stride = TAPS > 1 ? STRIDE : a.stride;
  int64_t left = a.chain;  // terms to the next cut
  bool cut = false;
  for (int64_t column = 0; column < a.column_taps; ++column)
    for (int64_t plane = 0; plane < a.plane_taps; ++plane) {
      const int64_t across = a.columns[column * a.column_step];
      const bool outside = across == kOutsideInput;
      const float* const* rows = outside ? a.outside : a.rows + plane * a.plane_rows;
      const int64_t x = outside ? at : at + across;
      for (int64_t rest = a.row_taps; rest > 0;) {
        if (TAPS > 1 && rest >= TAPS && left >= TAPS) {
          depthwise_window<STRIDE, ROWS, TAPS>(acc, w, rows, x,
                                               std::make_integer_sequence<int, (ROWS - 1) * STRIDE + TAPS>{});
          rows += TAPS;
          w += TAPS * kWidth;
          left -= TAPS;
          rest -= TAPS;
        } else {
          const f32 tap = load(w);
          const float* const* row = rows;
#pragma GCC unroll 14
          for (int i = 0; i < ROWS; ++i, row += stride) acc[i] = fma(tap, load(*row + x), acc[i]);
          rows += a.row_step;
          w += kWidth;
          --left;
          --rest;
        }
        if (left > 0) continue;
        for (int i = 0; i < ROWS; ++i) {
          total[i] = cut ? total[i] + acc[i] : acc[i];
          acc[i] = zero();
        }
        cut = true;
        left = a.chain;
      }
    }
  if (cut)
    for (int i = 0; i < ROWS; ++i) acc[i] = left < a.chain ? total[i] + acc[i] : total[i];
  return w;
}

template <int ROWS, int TAPS, int STRIDE>
static void depthwise_tile(const DepthwiseArgs& a) {
  const float* w = a.w;
  float* c = a.c;
  for (int64_t at = 0; at < a.lanes; at += kWidth, c += kWidth) {
    // As TileArgs::touch: lines to be written are fetched while the sums run.
    for (int64_t i = 0; i < a.outputs; ++i) prefetch_write(c + i * a.c_row);
    f32 acc[ROWS];
    w = depthwise_sums<ROWS, TAPS, STRIDE>(a, w, a.x + at, acc);
    depthwise_store(c, a.c_row, a.outputs, a.lanes - at, acc);
  }
}

template <int ROWS, int T = 1>
static OMNICONV_INLINE void fill_depthwise(DepthwiseTile (&tile)[kDepthwiseTapForms][2]) {
  if constexpr (T < kDepthwiseTapForms) {
    tile[T][0] = depthwise_tile<ROWS, kDepthwiseTaps[T], 1>;
    tile[T][1] = depthwise_tile<ROWS, kDepthwiseTaps[T], 2>;
    fill_depthwise<ROWS, T + 1>(tile);
  } else {
    tile[0][0] = tile[0][1] = depthwise_tile<ROWS, 1, 1>;
  }
}

template <int... ROWS>
static OMNICONV_INLINE void fill_depthwise_rows(DepthwiseKernels& k, std::integer_sequence<int, ROWS...>) {
  static_assert(sizeof...(ROWS) == kDepthwiseRowForms);
  int form = 0;
  ((k.rows[form] = ROWS, fill_depthwise<ROWS>(k.tile[form]), ++form), ...);
}

static DepthwiseKernels depthwise_kernels() {
  DepthwiseKernels k{};
#if defined(__AVX512F__) || defined(__aarch64__)
  fill_depthwise_rows(k, std::integer_sequence<int, 14, 10, 7, 4>{});
#else
  fill_depthwise_rows(k, std::integer_sequence<int, 7, 6, 5, 4>{});
#endif
  return k;
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::conv
