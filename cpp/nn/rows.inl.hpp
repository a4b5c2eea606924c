// nn/rows.inl.hpp -- norms of rows, sums and factors of columns, largest of windows
//
// All of them wait for memory or for the latency of an addition, so the text is plain: a row of a norm is read three
// times, from L1 after the first; sums of columns keep a strip in registers.
#pragma once

#include "nn/kernels.hpp"
#include "simd/vec.hpp"

namespace omniconv::nn {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

constexpr int kChains = 4;            // additions under way: their latency over their rate
constexpr int64_t kSumFloats = 4096;  // of a sum in float32: the sums of such pieces are added in double

// body(vector, chain) for all vectors of a row, the last with zeros behind it, as `count` says.
template <class Body>
static OMNICONV_INLINE void each_vector(int64_t width, Body&& body) {
  int64_t j = 0;
  for (; j + kChains * kWidth <= width; j += kChains * kWidth)
    for (int k = 0; k < kChains; ++k) body(j + k * kWidth, kWidth, k);
  for (int k = 0; j < width; j += kWidth, ++k) body(j, int(width - j < kWidth ? width - j : kWidth), k);
}

static OMNICONV_INLINE f32 load_some(const float* p, int n) { return n == kWidth ? load(p) : load_partial(p, n); }
static OMNICONV_INLINE void store_some(float* p, f32 v, int n) {
  if (n == kWidth)
    store(p, v);
  else
    store_partial(p, v, n);
}

// All lanes of the chains.
static OMNICONV_INLINE double total_of(const f32 (&acc)[kChains]) {
  float lanes[kWidth];
  store(lanes, (acc[0] + acc[1]) + (acc[2] + acc[3]));
  double sums[kWidth];
  for (int i = 0; i < kWidth; ++i) sums[i] = double(lanes[i]);
  for (int n = kWidth / 2; n > 0; n /= 2)  // halves: one chain of kWidth additions would take longer than short rows
    for (int i = 0; i < n; ++i) sums[i] += sums[i + n];
  return sums[0];
}

// The sum over a row of term(x - shift), lanes beyond its end left out.
template <bool SQUARES>
static OMNICONV_INLINE double row_sum(const float* x, int64_t width, float shift) {
  double total = 0;
  const f32 centre = broadcast(shift);
  for (int64_t from = 0; from < width; from += kSumFloats) {
    f32 acc[kChains];
    for (int k = 0; k < kChains; ++k) acc[k] = zero();
    each_vector(width - from < kSumFloats ? width - from : kSumFloats, [&](int64_t j, int n, int k) {
      f32 v = load_some(x + from + j, n) - centre;
      if (n < kWidth) v = select(lane_index() < n, v, zero());
      acc[k] = SQUARES ? fma(v, v, acc[k]) : acc[k] + v;
    });
    total += total_of(acc);
  }
  return total;
}

static void norm(const NormArgs& a) {
  for (int64_t row = 0; row < a.rows; ++row) {
    const float* x = a.x + row * a.x_step;
    float* y = a.y + row * a.y_step;
    const float mean = a.centred ? float(row_sum<false>(x, a.width, 0.0f) / double(a.width)) : 0.0f;
    const double mean_square = row_sum<true>(x, a.width, mean) / double(a.width);
    const f32 centre = broadcast(mean), scale = broadcast(float(1.0 / __builtin_sqrt(mean_square + a.eps)));
    each_vector(a.width, [&](int64_t j, int n, int) {
      f32 v = (load_some(x + j, n) - centre) * scale;
      if (a.weight) v = v * load_some(a.weight + j, n);
      if (a.bias) v = v + load_some(a.bias + j, n);
      store_some(y + j, v, n);
    });
  }
}

// sum += part, the rounding kept in rest (Knuth's two-sum).
static OMNICONV_INLINE void add_part(f32& sum, f32& rest, f32 part) {
  const f32 total = sum + part, added = total - sum;
  rest += (sum - (total - added)) + (part - added);
  sum = total;
}

constexpr int64_t kRows = 64;  // of a chain of additions: longer sums are those of such runs

template <bool SQUARES, bool FULL>
static OMNICONV_INLINE void strip_sums(const SumArgs& a) {
  constexpr int kVectors = int(kStrip) / kWidth;
  const int vectors = FULL ? kVectors : int((a.width + kWidth - 1) / kWidth);
  const int tail = int(a.width - (vectors - 1) * kWidth);
  f32 sum[kVectors], rest[kVectors];
  for (int j = 0; j < kVectors; ++j) sum[j] = rest[j] = zero();
  for (int64_t row = 0; row < a.rows; row += kRows) {
    const int64_t end = a.rows - row < kRows ? a.rows : row + kRows;
    f32 acc[kVectors];
    for (int j = 0; j < kVectors; ++j) acc[j] = zero();
    for (int64_t r = row; r < end; ++r) {
      const float* x = a.x + r * a.x_step;
      for (int j = 0; j < kVectors; ++j) {
        if (!FULL && j >= vectors) break;
        const f32 v = FULL || j < vectors - 1 ? load(x + j * kWidth) : load_some(x + j * kWidth, tail);
        acc[j] = SQUARES ? fma(v, v, acc[j]) : acc[j] + v;
      }
    }
    for (int j = 0; j < kVectors; ++j) add_part(sum[j], rest[j], acc[j]);
  }
  for (int j = 0; j < vectors; ++j) {
    const f32 total = select(rest[j] == rest[j], sum[j] + rest[j], sum[j]);  // infinite sums leave NaN
    store_some(a.sums + j * kWidth, total, FULL || j < vectors - 1 ? kWidth : tail);
  }
}

static void sums(const SumArgs& a) {
  if (a.width == kStrip)
    a.squares ? strip_sums<true, true>(a) : strip_sums<false, true>(a);
  else
    a.squares ? strip_sums<true, false>(a) : strip_sums<false, false>(a);
}

static void affine(const AffineArgs& a) {
  for (int64_t row = 0; row < a.rows; ++row) {
    const float *x = a.x + row * a.x_step, *other = a.other + row * a.other_step;
    float* y = a.y + row * a.y_step;
    each_vector(a.width, [&](int64_t j, int n, int) {
      f32 v = load_some(x + j, n);
      if (a.scale) v = v * load_some(a.scale + j, n);
      if (a.shift) v = v + load_some(a.shift + j, n);
      if (a.other) v = v * load_some(other + j, n);
      store_some(y + j, v, n);
    });
  }
}

static void product(const ProductArgs& a) {
  for (int64_t row = 0; row < a.rows; ++row) {
    const float* w = a.w + row * a.w_step;
    double total = a.bias ? double(a.bias[row]) : 0.0;
    for (int64_t from = 0; from < a.width; from += kSumFloats) {
      f32 acc[kChains];
      for (int k = 0; k < kChains; ++k) acc[k] = zero();
      each_vector(a.width - from < kSumFloats ? a.width - from : kSumFloats, [&](int64_t j, int n, int k) {
        acc[k] = fma(load_some(w + from + j, n), load_some(a.x + from + j, n), acc[k]);
      });
      total += total_of(acc);
    }
    a.y[row] = float(total);
  }
}

static void max_pool(const PoolArgs& a) {
  for (int64_t w = 0; w < a.count; ++w) {
    const int64_t at = a.first + w * a.stride;
    const int64_t low = at < 0 ? -at : 0, high = a.columns - at < a.taps ? a.columns - at : a.taps;
    each_vector(a.width, [&](int64_t j, int n, int) {
      f32 best = load_some(a.x + (at + low) * a.pixel + j, n);
      for (int64_t r = 0; r < a.rows; ++r)
        for (int64_t t = low; t < high; ++t) {
          const f32 v = load_some(a.x + r * a.tap_row + (at + t) * a.pixel + j, n);
          best = select(v == v, max(v, best), v);  // max gives `best` where either is NaN
        }
      store_some(a.y + w * a.y_pixel + j, best, n);
    });
  }
}

static constexpr Kernels make_kernels() { return {norm, sums, affine, product, max_pool}; }

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::nn
