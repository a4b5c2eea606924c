// conv/winograd.inl.hpp -- the transforms of Winograd convolution, lanes being channels
//
// A 2-D transform is a 1-D one over the columns, kept in n_h x n_w vectors (L1), then one over the rows.
// Multiplications by 0 and 1 are left out by the compiler, and the points p and -p share their even and odd halves:
// F(4x4, 3x3) takes 12 x 15 additions and fused multiply-adds for 36 vectors, about as many as it has loads and stores.
#pragma once

#include "conv/cook_toom.hpp"
#include "conv/winograd_kernels.hpp"
#include "simd/vec.hpp"

namespace omniconv::conv {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

// sum + c * x, where sum may be empty.
static OMNICONV_INLINE f32 add_term(bool first, f32 sum, float c, f32 x) {
  if (first) return c == 1 ? x : broadcast(c) * x;
  return c == 1 ? sum + x : c == -1 ? sum - x : fma(broadcast(c), x, sum);
}

// v = B^T x. Rows i, i + 1 of a pair of points agree in one half of their terms and differ in sign in the other.
template <class T>
static OMNICONV_INLINE void transform_input(const f32 (&x)[T::kSize], f32 (&v)[T::kSize]) {
  static constexpr T t{};
  constexpr int n = T::kSize;
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) {
    if (i > 0 && i % 2 == 0 && i < n - 1) continue;  // the second of a pair
    const bool pair = i % 2 && i + 1 < n - 1;
    f32 same{}, opposite{};
    bool no_same = true, no_opposite = true;
#pragma GCC unroll 8
    for (int j = n - 1; j >= 0; --j) {
      const float c = float(t.b[i][j]);
      if (c == 0) continue;
      if (pair && t.b[i + 1][j] == -t.b[i][j]) {
        opposite = add_term(no_opposite, opposite, c, x[j]);
        no_opposite = false;
      } else {
        same = add_term(no_same, same, c, x[j]);
        no_same = false;
      }
    }
    v[i] = pair ? same + opposite : same;
    if (pair) v[i + 1] = same - opposite;
  }
}

// y = A^T c.
template <class T>
static OMNICONV_INLINE void transform_output(const f32 (&c)[T::kSize], f32 (&y)[T::kOutputs]) {
  static constexpr T t{};
  constexpr int n = T::kSize;
  f32 sum[n / 2 + 1], difference[n / 2 + 1];
#pragma GCC unroll 4
  for (int i = 1; i + 1 < n - 1; i += 2) {
    sum[i / 2] = c[i] + c[i + 1];
    difference[i / 2] = c[i] - c[i + 1];
  }
#pragma GCC unroll 8
  for (int j = 0; j < T::kOutputs; ++j) {
    f32 acc = c[0];
    bool first = t.a[j][0] == 0;
#pragma GCC unroll 4
    for (int i = 1; i + 1 < n - 1; i += 2, first = false)
      acc = add_term(first, acc, float(t.a[j][i]), j % 2 ? difference[i / 2] : sum[i / 2]);
    if (n > 1 && t.a[j][n - 1] != 0) acc = acc + c[n - 1];
    y[j] = acc;
  }
}

template <class H, class W, bool WHOLE>
static OMNICONV_INLINE void input_tile(const WinogradInputArgs& args, const float* x, float* v, int lanes) {
  f32 columns[H::kSize][W::kSize];
#pragma GCC unroll 8
  for (int j = 0; j < W::kSize; ++j) {
    f32 from[H::kSize], to[H::kSize];
#pragma GCC unroll 8
    for (int i = 0; i < H::kSize; ++i) {
      const float* at = x + i * args.x_row + j * args.x_column;
      from[i] = WHOLE ? load(at) : load_partial(at, lanes);
    }
    transform_input<H>(from, to);
#pragma GCC unroll 8
    for (int i = 0; i < H::kSize; ++i) columns[i][j] = to[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < H::kSize; ++i) {
    f32 to[W::kSize];
    transform_input<W>(columns[i], to);
#pragma GCC unroll 8
    for (int j = 0; j < W::kSize; ++j) store(v + (i * W::kSize + j) * args.v_frequency, to[j]);
  }
}

// v_tile is at least `channels` rounded up to whole vectors.
template <class H, class W>
static void winograd_input(const WinogradInputArgs& args) {
  for (int64_t t = 0; t < args.tiles; ++t) {
    const float* x = args.x + t * args.x_tile;
    float* v = args.v + t * args.v_tile;
    int64_t c = 0;
    for (; c + kWidth <= args.channels; c += kWidth) input_tile<H, W, true>(args, x + c, v + c, kWidth);
    if (c < args.channels) input_tile<H, W, false>(args, x + c, v + c, int(args.channels - c));
  }
}

template <class H, class W>
static void winograd_output(const WinogradOutputArgs& args) {
  for (int64_t t = 0; t < args.tiles; ++t)
    for (int64_t l = 0; l < args.lanes; l += kWidth) {
      const float* c = args.c + t * args.lanes + l;
      f32 columns[H::kOutputs][W::kSize];
#pragma GCC unroll 8
      for (int j = 0; j < W::kSize; ++j) {
        f32 from[H::kSize], to[H::kOutputs];
#pragma GCC unroll 8
        for (int i = 0; i < H::kSize; ++i) from[i] = load(c + (i * W::kSize + j) * args.c_frequency);
        transform_output<H>(from, to);
#pragma GCC unroll 8
        for (int i = 0; i < H::kOutputs; ++i) columns[i][j] = to[i];
      }
      const int64_t first = t * W::kOutputs;
      const int width = int(args.columns - first < W::kOutputs ? args.columns - first : W::kOutputs);
#pragma GCC unroll 8
      for (int i = 0; i < H::kOutputs; ++i) {
        if (i >= args.rows) break;
        f32 to[W::kOutputs];
        transform_output<W>(columns[i], to);
        float* y = args.y + (i * args.columns + first) * args.lanes + l;
#pragma GCC unroll 8
        for (int j = 0; j < W::kOutputs; ++j)
          if (j < width) store(y + j * args.lanes, to[j]);
      }
    }
}

// One k, one vector of channels: `first` is the first tap of its phases. In float64, rounded once.
template <class H, class W>
static void winograd_weights_of(const WinogradWeightArgs& args, int64_t phase_h, int64_t phase_w, const float* first,
                                float* u, int64_t frequency) {
  static constexpr H th{};
  static constexpr W tw{};
  const int64_t tap_h = args.ci * args.lanes, tap_w = args.taps_d * args.taps_h * tap_h;
  double half[H::kSize][W::kTaps][kWidth] = {};
  for (int b = 0; b < W::kTaps && phase_w + b * args.stride_w < args.taps_w; ++b)
    for (int a = 0; a < H::kTaps && phase_h + a * args.stride_h < args.taps_h; ++a) {
      const float* w = first + b * args.stride_w * tap_w + a * args.stride_h * tap_h;
      for (int i = 0; i < H::kSize; ++i) {
        const double g = th.g[i][a];
        if (g == 0) continue;
        for (int l = 0; l < kWidth; ++l) half[i][b][l] += g * double(w[l]);
      }
    }
  for (int i = 0; i < H::kSize; ++i)
    for (int j = 0; j < W::kSize; ++j) {
      double sum[kWidth] = {};
      for (int b = 0; b < W::kTaps; ++b)
        for (int l = 0; l < kWidth; ++l) sum[l] += tw.g[j][b] * half[i][b][l];
      float* to = u + (i * W::kSize + j) * frequency;
      for (int l = 0; l < kWidth; ++l) to[l] = float(sum[l]);
    }
}

template <class H, class W>
static void winograd_weights(const WinogradWeightArgs& args) {
  const int64_t tap_h = args.ci * args.lanes, tap_d = args.taps_h * tap_h, tap_w = args.taps_d * tap_d;
  const int64_t frequency = args.stride_w * args.taps_d * args.stride_h * tap_h;
  float* u = args.u;
  for (int64_t q = 0; q < args.stride_w; ++q)
    for (int64_t d = 0; d < args.taps_d; ++d)
      for (int64_t p = 0; p < args.stride_h; ++p)
        for (int64_t c = 0; c < args.ci; ++c, u += args.lanes)
          for (int64_t l = 0; l < args.lanes; l += kWidth)
            winograd_weights_of<H, W>(args, p, q, args.panel + q * tap_w + d * tap_d + p * tap_h + c * args.lanes + l,
                                      u + l, frequency);
}

template <int I>
static OMNICONV_INLINE void fill_winograd(WinogradKernels* table) {
  if constexpr (I < kWinogradCount) {
    constexpr WinogradVariant v = kWinogradVariants[I];
    using H = CookToom<v.m_h, v.r_h>;
    using W = CookToom<v.m_w, v.r_w>;
    table[I] = {winograd_input<H, W>, winograd_output<H, W>, winograd_weights<H, W>};
    fill_winograd<I + 1>(table);
  }
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::conv
