// sparse/rows.inl.hpp -- sums of rows by the lines of a CSR matrix
//
// A strip of the output's row stays in registers while the entries of its line pass: PANEL vectors, so that 64 columns
// with AVX2 are read and written once. The order of a sum is that of the entries. Runs of kRun of them are added up by
// themselves and then to the total with what its rounding leaves: the error of a hub with a million neighbours is that
// of one run.
#pragma once

#include "simd/vec.hpp"
#include "sparse/kernels.hpp"

namespace omniconv::sparse {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

constexpr int64_t kRun = 64;

// sum += part, the rounding kept in rest (Knuth's two-sum).
static OMNICONV_INLINE void add_run(f32& sum, f32& rest, f32 part) {
  const f32 total = sum + part, added = total - sum;
  rest += (sum - (total - added)) + (part - added);
  sum = total;
}

template <int PANEL, bool FULL>
static OMNICONV_INLINE void spmm_strip(const SpmmArgs& a, int64_t row, int64_t column, int tail) {
  f32 acc[PANEL];
  for (int j = 0; j < PANEL; ++j) acc[j] = zero();
  const float* x = a.x + column;
  const int64_t end = a.begin[row + 1], last = a.begin[a.rows] - 1;
  const auto run = [&](int64_t e, int64_t until) __attribute__((always_inline)) {
    for (; e < until; ++e) {
      const int64_t from = a.columns[e];
      const float* next = x + a.columns[e + 8 < last ? e + 8 : last] * a.x_step;
      for (int j = 0; j < PANEL * kWidth; j += 16) prefetch_read(next + j);
      float scale = a.values ? a.values[e] : 1.0f;
      if (a.column_scale) scale *= a.column_scale[from];
      const f32 v = broadcast(scale);
      for (int j = 0; j < PANEL; ++j) {
        const float* at = x + from * a.x_step + j * kWidth;
        acc[j] = fma(v, FULL || j < PANEL - 1 ? load(at) : load_partial(at, tail), acc[j]);
      }
    }
  };
  const int64_t first = a.begin[row];
  run(first, end - first < kRun ? end : first + kRun);
  if (end - first > kRun) {
    f32 sum[PANEL], rest[PANEL];
    for (int j = 0; j < PANEL; ++j) sum[j] = acc[j], rest[j] = zero();
    for (int64_t e = first + kRun; e < end; e += kRun) {
      for (int j = 0; j < PANEL; ++j) acc[j] = zero();
      run(e, end - e < kRun ? end : e + kRun);
      for (int j = 0; j < PANEL; ++j) add_run(sum[j], rest[j], acc[j]);
    }
    for (int j = 0; j < PANEL; ++j)
      acc[j] = select(rest[j] == rest[j], sum[j] + rest[j], sum[j]);  // infinite sums leave NaN
  }
  const f32 scale = broadcast(a.row_scale ? a.row_scale[row] : 1.0f);
  float* y = a.y + (row - a.first) * a.y_step + column;
  for (int j = 0; j < PANEL; ++j) {
    if (FULL || j < PANEL - 1)
      store(y + j * kWidth, acc[j] * scale);
    else
      store_partial(y + j * kWidth, acc[j] * scale, tail);
  }
}

// Strips of PANEL vectors, then of halves of it; what is left of a vector in the end.
template <int PANEL>
static OMNICONV_INLINE void spmm_strips(const SpmmArgs& a, int64_t row, int64_t column) {
  for (; column + PANEL * kWidth <= a.width; column += PANEL * kWidth) spmm_strip<PANEL, true>(a, row, column, 0);
  if constexpr (PANEL > 1) {
    spmm_strips<PANEL / 2>(a, row, column);
  } else if (column < a.width) {
    spmm_strip<1, false>(a, row, column, int(a.width - column));
  }
}

static void spmm(const SpmmArgs& a) {
  for (int64_t row = a.first; row < a.last; ++row) spmm_strips<8>(a, row, 0);
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::sparse
