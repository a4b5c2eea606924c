// conv/grouped.inl.hpp -- sums of groups of several channels whose lanes are output channels
//
// A tile is COLUMNS x ROWS outputs of one vector of channels. What a lane multiplies its weight with is spread from x:
// a vector holds whole groups, and each lane picks its group's channel (one shuffle), or a group fills vectors, and all
// lanes take the same channel (one broadcast). The bits are those of tile.inl.hpp if the input channels of a tap are
// summed before the next tap, so one output is a chain that nothing shortens: COLUMNS times the TAPS rows of outputs
// that meet in a row of x are in flight, 3 x 3 where 4 cycles at two a cycle want 8. A spread is worth TAPS
// multiply-adds, a weight COLUMNS: 3 shuffles, 6 loads and 9 multiply-adds in a step, two thirds of the peak at most
// where shuffles take one of the two ports of multiply-adds. Registers: 21 sums, 3 spread, a weight, the lanes' picks.
#pragma once

#include <utility>

#include "conv/depthwise.inl.hpp"
#include "conv/kernels.hpp"
#include "simd/permute.hpp"

namespace omniconv::conv {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

template <bool PICK>
static OMNICONV_INLINE f32 spread(const float* x, int64_t channel, const int32_t* picks) {
  if constexpr (PICK)
    return permute(load(x), load_i32(picks + channel * kWidth));
  else
    return broadcast(x[channel]);
}

// Row J of x meets tap t of output i where i * STRIDE + t = J.
template <int J, int STRIDE, int TAPS, bool PICK, int COLUMNS, int ROWS>
static OMNICONV_INLINE void group_row(f32 (&acc)[COLUMNS][ROWS], const float* w, int64_t ci, const int32_t* picks,
                                      const float* const* const (&rows)[COLUMNS], const int64_t (&at)[COLUMNS]) {
  const float* x[COLUMNS];
#pragma GCC unroll 4
  for (int c = 0; c < COLUMNS; ++c) x[c] = rows[c][J] + at[c];
#pragma GCC unroll 2
  for (int64_t channel = 0; channel < ci; ++channel, w += kWidth) {
    f32 v[COLUMNS];
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; ++c) v[c] = spread<PICK>(x[c], channel, picks);
#pragma GCC unroll 4
    for (int t = 0; t < TAPS; ++t)
      if (J >= t && (J - t) % STRIDE == 0 && (J - t) / STRIDE < ROWS) {
        const f32 tap = load(w + t * ci * kWidth);
#pragma GCC unroll 4
        for (int c = 0; c < COLUMNS; ++c) acc[c][(J - t) / STRIDE] = fma(tap, v[c], acc[c][(J - t) / STRIDE]);
      }
  }
}

template <int STRIDE, int TAPS, bool PICK, int COLUMNS, int ROWS, int... J>
static OMNICONV_INLINE void group_window(f32 (&acc)[COLUMNS][ROWS], const float* w, int64_t ci, const int32_t* picks,
                                         const float* const* const (&rows)[COLUMNS], const int64_t (&at)[COLUMNS],
                                         std::integer_sequence<int, J...>) {
  (group_row<J, STRIDE, TAPS, PICK>(acc, w, ci, picks, rows, at), ...);
}

// The chains of one vector; `at` is where x begins in a pixel. Columns beyond the last output repeat it.
template <int COLUMNS, int ROWS, int TAPS, int STRIDE, bool PICK>
static OMNICONV_INLINE void group_sums(const DepthwiseArgs& a, const GroupArgs& g, const float* w, int64_t at,
                                       f32 (&acc)[COLUMNS][ROWS]) {
  f32 total[COLUMNS][ROWS];
#pragma GCC unroll 4
  for (int c = 0; c < COLUMNS; ++c)
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) acc[c][i] = total[c][i] = zero();
  int64_t left = a.chain;  // terms to the next cut
  bool cut = false;
  for (int64_t column = 0; column < a.column_taps; ++column)
    for (int64_t plane = 0; plane < a.plane_taps; ++plane) {
      const float* const* rows[COLUMNS];
      int64_t x[COLUMNS];
#pragma GCC unroll 4
      for (int c = 0; c < COLUMNS; ++c) {
        const int64_t output = c < g.outputs_across ? c : g.outputs_across - 1;
        const int64_t across = a.columns[column * a.column_step + output * g.stride_across];
        const bool outside = across == kOutsideInput;
        rows[c] = outside ? a.outside : a.rows + plane * a.plane_rows;
        x[c] = outside ? at : at + across;
      }
      for (int64_t rest = a.row_taps, first = 0; rest > 0;) {
        if (TAPS > 1 && rest >= TAPS && first == 0 && left >= TAPS * g.ci) {
          group_window<STRIDE, TAPS, PICK>(acc, w, g.ci, g.picks, rows, x,
                                           std::make_integer_sequence<int, (ROWS - 1) * STRIDE + TAPS>{});
#pragma GCC unroll 4
          for (int c = 0; c < COLUMNS; ++c) rows[c] += TAPS;
          w += TAPS * g.ci * kWidth;
          left -= TAPS * g.ci;
          rest -= TAPS;
        } else {  // one tap, or what is left of its channels before the next cut
          const int64_t end = g.ci - first < left ? g.ci : first + left;
          left -= end - first;
          for (; first < end; ++first, w += kWidth) {
            const f32 tap = load(w);
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
              for (int c = 0; c < COLUMNS; ++c)
                acc[c][i] = fma(tap, spread<PICK>(rows[c][i * a.stride] + x[c], first, g.picks), acc[c][i]);
          }
          if (first == g.ci) {
#pragma GCC unroll 4
            for (int c = 0; c < COLUMNS; ++c) rows[c] += a.row_step;
            first = 0;
            --rest;
          }
        }
        if (left > 0) continue;
        for (int c = 0; c < COLUMNS; ++c)
          for (int i = 0; i < ROWS; ++i) {
            total[c][i] = cut ? total[c][i] + acc[c][i] : acc[c][i];
            acc[c][i] = zero();
          }
        cut = true;
        left = a.chain;
      }
    }
  if (cut)
    for (int c = 0; c < COLUMNS; ++c)
      for (int i = 0; i < ROWS; ++i) acc[c][i] = left < a.chain ? total[c][i] + acc[c][i] : total[c][i];
}

template <int COLUMNS, int ROWS, int TAPS, int STRIDE, bool PICK>
static void group_tile(const DepthwiseArgs& a, const GroupArgs& g) {
  const float* w = a.w;
  float* c = a.c;
  const int64_t terms = a.row_taps * a.plane_taps * a.column_taps * g.ci;
  int64_t x = a.x + g.vector / g.group_vectors * g.x_step, in_group = g.vector % g.group_vectors;
  for (int64_t lane = 0; lane < a.lanes; lane += kWidth, c += kWidth, w += terms * kWidth) {
    f32 acc[COLUMNS][ROWS];
    group_sums<COLUMNS, ROWS, TAPS, STRIDE, PICK>(a, g, w, x, acc);
    for (int column = 0; column < COLUMNS && column < g.outputs_across; ++column)
      depthwise_store(c + column * g.c_across, a.c_row, a.outputs, a.lanes - lane, acc[column]);
    if (++in_group == g.group_vectors) in_group = 0, x += g.x_step;
  }
}

template <int COLUMNS, int ROWS, bool PICK>
static OMNICONV_INLINE void fill_group(GroupTile (&tile)[3]) {
  tile[0] = group_tile<COLUMNS, ROWS, 1, 1, PICK>;
  tile[1] = group_tile<COLUMNS, ROWS, 3, 1, PICK>;
  tile[2] = group_tile<COLUMNS, ROWS, 3, 2, PICK>;
}

template <int COLUMNS, int HIGH, int LOW>
static OMNICONV_INLINE GroupKernels group_kernels_of() {
  GroupKernels k{};
  k.columns = COLUMNS;
  k.rows[0] = HIGH;
  k.rows[1] = LOW;
  fill_group<COLUMNS, HIGH, false>(k.tile[0][0]);
  fill_group<COLUMNS, HIGH, true>(k.tile[0][1]);
  fill_group<COLUMNS, LOW, false>(k.tile[1][0]);
  fill_group<COLUMNS, LOW, true>(k.tile[1][1]);
  return k;
}

static GroupKernels group_kernels() {
#if defined(__AVX512F__) || defined(__aarch64__)
  return group_kernels_of<3, 7, 4>();
#else
  return group_kernels_of<3, 4, 2>();
#endif
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::conv
