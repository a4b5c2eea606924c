// conv/planar.inl.hpp -- register tiles that read the input as it lies, shifted by the taps
//
// Computes acc[i][lane] = sum_k w_k x[offset_k + lane] in one of two ways: rows are output channels over one row of
// pixels (lanes); rows are rows of pixels under one set of weights (depthwise, NCHW; planar_slide where the rows of x
// that they need overlap).
// Registers, AVX2: 4 x 3 accumulators, 3 of x, 1 broadcast of w; per term 3 + 4 loads feed 12 multiply-adds (6 cycles),
// or 1 + 12 where rows have x of their own (6.5 cycles, for x is then a memory operand). AVX-512: 8 x 3, likewise. Rows
// of pixels are read unaligned: a load that crosses a line takes two cycles. Every accumulator is one chain in the
// order of k, so the bits are those of tile.inl.hpp.
#pragma once

#include "conv/finish.inl.hpp"
#include "conv/kernels.hpp"
#include "simd/vec.hpp"

namespace omniconv::conv {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

constexpr int kPlanarSums = kWidth == 16 ? 24 : 12;
constexpr int planar_rows(int vectors) {
  return kPlanarSums / vectors < kMaxPlanarRows ? kPlanarSums / vectors : kMaxPlanarRows;
}

// The loops over a tile are unrolled by order, and nothing of `args` is read between stores: else GCC keeps the sums in
// memory, to zero them, to spill them, and asks `add` of each vector: some 60 cycles where 27 terms take 162.
template <bool ADD, int ROWS, int VECTORS>
static OMNICONV_INLINE void planar_store_as(float* c, int64_t c_row, int last, f32 (&acc)[ROWS][VECTORS]) {
#pragma GCC unroll 12
  for (int i = 0; i < ROWS; ++i, c += c_row)
#pragma GCC unroll 3
    for (int j = 0; j < VECTORS; ++j) {
      float* at = c + j * kWidth;
      if (j + 1 < VECTORS || last == kWidth)
        store(at, ADD ? load(at) + acc[i][j] : acc[i][j]);
      else
        store_partial(at, ADD ? load_partial(at, last) + acc[i][j] : acc[i][j], last);
    }
}

template <int ROWS, int VECTORS>
static OMNICONV_INLINE void planar_store(const PlanarArgs& args, f32 (&acc)[ROWS][VECTORS]) {
  const int last = args.lanes - (VECTORS - 1) * kWidth;
  if (args.add)
    planar_store_as<true>(args.c, args.c_row, last, acc);
  else
    planar_store_as<false>(args.c, args.c_row, last, acc);
}

template <int ROWS, int VECTORS>
static OMNICONV_INLINE void planar_zero(f32 (&acc)[ROWS][VECTORS]) {
#pragma GCC unroll 12
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 3
    for (int j = 0; j < VECTORS; ++j) acc[i][j] = zero();
}

template <int ROWS, int VECTORS, PlanarMode MODE>
static void planar_tile(const PlanarArgs& args) {
  f32 acc[ROWS][VECTORS];
  planar_zero(acc);
  // As TileArgs::touch: lines to be written are fetched while the sums run.
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < VECTORS; j += 16 / kWidth) prefetch_write(args.c + i * args.c_row + j * kWidth);
  const float* w = args.w;
  // Two terms share the steps of the loop: at 4 x 3 on AVX2 47 instructions instead of 50. Measured 2-6 % less time.
#pragma GCC unroll 2
  for (int64_t k = 0; k < args.count; ++k, w += args.w_term) {
    const float* x = args.x + args.offsets[k];
    if constexpr (MODE != PlanarMode::rows_are_channels) {
      const f32 wk = broadcast(*w);
      for (int i = 0; i < ROWS; ++i, x += args.x_row)
        for (int j = 0; j < VECTORS; ++j) acc[i][j] = fma(wk, load(x + j * kWidth), acc[i][j]);
    } else {
      f32 xk[VECTORS];
      for (int j = 0; j < VECTORS; ++j) xk[j] = load(x + j * kWidth);
      for (int i = 0; i < ROWS; ++i) {
        const f32 wk = broadcast(w[i]);
        for (int j = 0; j < VECTORS; ++j) acc[i][j] = fma(wk, xk[j], acc[i][j]);
      }
    }
  }
  planar_store<ROWS, VECTORS>(args, acc);
}

// acc[i] += w_{y - i} x for the rows i in [FIRST, LAST] of a tile, x row y of the input.
template <int FIRST, int LAST, int ROWS, int VECTORS>
static OMNICONV_INLINE void slide_row(f32 (&acc)[ROWS][VECTORS], const float* x, const float* w, int64_t w_term) {
  f32 xy[VECTORS];
  for (int j = 0; j < VECTORS; ++j) xy[j] = load(x + j * kWidth);
  for (int i = FIRST; i <= LAST; ++i) {
    const f32 wk = broadcast(w[-i * w_term]);
    for (int j = 0; j < VECTORS; ++j) acc[i][j] = fma(wk, xy[j], acc[i][j]);
  }
}

// Rows of x before the first, then after the last, that all rows of the tile take part in.
template <int Y, int ROWS, int VECTORS>
static OMNICONV_INLINE void slide_in(f32 (&acc)[ROWS][VECTORS], const float*& x, const float*& w, const PlanarArgs& a) {
  if constexpr (Y < ROWS - 1) {
    slide_row<0, Y>(acc, x, w, a.w_term);
    x += a.x_row;
    w += a.w_term;
    slide_in<Y + 1>(acc, x, w, a);
  }
}
template <int Y, int ROWS, int VECTORS>
static OMNICONV_INLINE void slide_out(f32 (&acc)[ROWS][VECTORS], const float* x, const float* w, const PlanarArgs& a) {
  if constexpr (Y < ROWS) {
    slide_row<Y, ROWS - 1>(acc, x, w, a.w_term);
    slide_out<Y + 1>(acc, x + a.x_row, w + a.w_term, a);
  }
}

// Needs slide >= ROWS. For 7 taps and 4 x 3 rows: 10 x 3 loads of x, half of them across a line, and 28 of w for 84
// multiply-adds, where planar_tile loads x 84 times.
template <int ROWS, int VECTORS>
static void planar_slide(const PlanarArgs& args) {
  f32 acc[ROWS][VECTORS];
  planar_zero(acc);
  for (int64_t k = 0; k < args.count; k += args.slide) {
    const float *x = args.x + args.offsets[k], *w = args.w + k * args.w_term;
    slide_in<0>(acc, x, w, args);
    for (int64_t y = ROWS - 1; y < args.slide; ++y, x += args.x_row, w += args.w_term)
      slide_row<0, ROWS - 1>(acc, x, w, args.w_term);
    slide_out<1>(acc, x, w, args);
  }
  planar_store<ROWS, VECTORS>(args, acc);
}

// Three rows of taps stay in registers, so tiles may be higher than the kernel: 3 x 3, 5 x 2 or 8 x 1 sums beside 3 of
// w and those of x. One call for all tiles under each other: a tile of 81 multiply-adds takes 40 cycles, a call
// some 25.
constexpr int planar_rows_3(int vectors) { return vectors == 1 ? 8 : kWidth == 16 ? 8 : vectors == 2 ? 5 : 3; }

template <int ROWS, int VECTORS>
static void planar_slide_3(const PlanarArgs& args) {
  const float* top = args.x;
  float* c = args.c;
  const int last = args.lanes - (VECTORS - 1) * kWidth;
  for (int64_t tile = 0; tile < args.repeat; ++tile, top += ROWS * args.x_row, c += ROWS * args.c_row) {
    f32 acc[ROWS][VECTORS];
    planar_zero(acc);
    const float* w = args.w;
    for (int64_t k = 0; k < args.count; k += 3, w += 3 * args.w_term) {
      const f32 w3[3] = {broadcast(w[0]), broadcast(w[args.w_term]), broadcast(w[2 * args.w_term])};
      const float* x = top + args.offsets[k];
#pragma GCC unroll 12
      for (int y = 0; y < ROWS + 2; ++y, x += args.x_row) {
        f32 xy[VECTORS];
        for (int j = 0; j < VECTORS; ++j) xy[j] = load(x + j * kWidth);
#pragma GCC unroll 3
        for (int t = 0; t < 3; ++t)
          if (y - t >= 0 && y - t < ROWS)
            for (int j = 0; j < VECTORS; ++j) acc[y - t][j] = fma(w3[t], xy[j], acc[y - t][j]);
      }
    }
    planar_store_as<false>(c, args.c_row, last, acc);
  }
}

template <Activation A>
static void planar_finish_as(const PlanarFinishArgs& a) {
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t p = 0; p < a.pixels; p += kWidth) {
      const int n = int(a.pixels - p < kWidth ? a.pixels - p : kWidth);
      f32 v = n == kWidth ? load(a.c + i * a.c_row + p) : load_partial(a.c + i * a.c_row + p, n);
      if (a.scale) v = v * broadcast(a.scale[i * a.channel_step]);
      if (a.bias) v = v + broadcast(a.bias[i * a.channel_step]);
      if (a.residual) v = v + load_strided(a.residual + i * a.r_row + p * a.r_pixel, a.r_pixel, n);
      store_strided(a.y + i * a.y_row + p * a.y_pixel, a.y_pixel, activate<A>(v, a.negative_slope), n);
    }
}

static void planar_finish(const PlanarFinishArgs& a) {
  with_activation(a.activation, [&]<Activation A>() { planar_finish_as<A>(a); });
}

static OMNICONV_INLINE void fill_zeros(float* to, int64_t begin, int64_t end) {
  for (; begin + kWidth <= end; begin += kWidth) store(to + begin, zero());
  if (begin < end) store_partial(to + begin, zero(), int(end - begin));
}

static OMNICONV_INLINE int64_t clamp_to(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

// Stride 1.
static void planar_lines_1(const PlanarLinesArgs& a) {
  const int64_t begin = clamp_to(a.lo, 0, a.phase), end = clamp_to(a.in + a.lo, begin, a.phase);
  const float* x = a.x - a.lo;
  float* to = a.to;
  for (int64_t r = 0; r < a.rows; ++r, x += a.x_row, to += a.phase) {
    fill_zeros(to, 0, begin);
    int64_t i = begin;
    for (; i + kWidth <= end; i += kWidth) store(to + i, load(x + i));
    if (i < end) store_partial(to + i, load_partial(x + i, int(end - i)), int(end - i));
    fill_zeros(to, end, a.phase);
  }
}

// Stride 2: elements 0, 2, 4, ... of a row belong to the phase of lo modulo 2, the others to the other one.
static void planar_lines_2(const PlanarLinesArgs& a) {
  const int64_t even = a.lo & 1, first[2] = {(a.lo - even) >> 1, (a.lo + even) >> 1};
  const int64_t count[2] = {(a.in + 1) / 2, a.in / 2};
  int64_t skip[2], begin[2], end[2];  // elements before the strip; columns of the strip that have elements
  for (int h = 0; h < 2; ++h) {
    skip[h] = first[h] < 0 ? -first[h] : 0;
    begin[h] = clamp_to(first[h], 0, a.phase);
    end[h] = clamp_to(first[h] + count[h], begin[h], a.phase);
  }
  const int64_t length[2] = {end[0] - begin[0], end[1] - begin[1]};
  const int64_t both = skip[0] == skip[1] ? (length[0] < length[1] ? length[0] : length[1]) : 0;
  for (int64_t r = 0; r < a.rows; ++r) {
    const float* x = a.x + r * a.x_row;
    float* to[2] = {a.to + (2 * r + even) * a.phase, a.to + (2 * r + 1 - even) * a.phase};
    int64_t i = 0;
    const float* from = x + 2 * skip[0];
    for (; i + kWidth <= both; i += kWidth) {
      const f32 low = load(from + 2 * i), high = load(from + 2 * i + kWidth);
      store(to[0] + begin[0] + i, even_lanes(low, high));
      store(to[1] + begin[1] + i, odd_lanes(low, high));
    }
    if (const int rest = int(both - i); rest > 0) {
      const int in_high = 2 * rest - kWidth;
      const f32 low = load_partial(from + 2 * i, in_high < 0 ? 2 * rest : kWidth);
      const f32 high = in_high > 0 ? load_partial(from + 2 * i + kWidth, in_high) : zero();
      store_partial(to[0] + begin[0] + i, even_lanes(low, high), rest);
      store_partial(to[1] + begin[1] + i, odd_lanes(low, high), rest);
      i = both;
    }
    for (int h = 0; h < 2; ++h) {
      for (int64_t j = i; j < length[h]; ++j) to[h][begin[h] + j] = x[2 * (skip[h] + j) + h];
      fill_zeros(to[h], 0, begin[h]);
      fill_zeros(to[h], end[h], a.phase);
    }
  }
}

static void planar_lines(const PlanarLinesArgs& a) { a.stride == 1 ? planar_lines_1(a) : planar_lines_2(a); }

// Per vector of g: a load of it, TAPS_H x TAPS_W multiply-adds with x from memory, half of which crosses a line; 12
// sums are 6 cycles of multiply-adds and 6 of loads.
template <int TAPS_H, int TAPS_W>
static void planar_outer(const PlanarOuterArgs& a) {
  f32 acc[TAPS_H][TAPS_W];
  planar_zero(acc);
  const int64_t whole = a.columns / kWidth * kWidth;
  const int rest = int(a.columns - whole);
  for (int64_t r = 0; r < a.rows; ++r) {
    const float *g = a.g + r * a.g_row, *x = a.x + r * a.x_row;
    for (int64_t p = 0; p < whole; p += kWidth) {
      const f32 gp = load(g + p);
      const float* xp = x + p;
      for (int i = 0; i < TAPS_H; ++i, xp += a.x_tap)
        for (int j = 0; j < TAPS_W; ++j) acc[i][j] = fma(gp, load(xp + j), acc[i][j]);
    }
    if (rest == 0) continue;
    const f32 gp = load_partial(g + whole, rest);
    const float* xp = x + whole;
    for (int i = 0; i < TAPS_H; ++i, xp += a.x_tap)
      for (int j = 0; j < TAPS_W; ++j) acc[i][j] = fma(gp, load_partial(xp + j, rest), acc[i][j]);
  }
  for (int i = 0; i < TAPS_H; ++i)
    for (int j = 0; j < TAPS_W; ++j) {
      float lanes[kWidth];
      store(lanes, acc[i][j]);
      double sum = 0;
      for (float lane : lanes) sum += double(lane);
      a.sums[i * TAPS_W + j] += sum;
    }
}

template <int TAPS_H, int TAPS_W>
static OMNICONV_INLINE void fill_planar_outer(PlanarKernels& k) {
  k.outer[TAPS_H][TAPS_W] = planar_outer<TAPS_H, TAPS_W>;
  if constexpr ((TAPS_H + 1) * TAPS_W <= kMaxPlanarTaps)
    fill_planar_outer<TAPS_H + 1, TAPS_W>(k);
  else if constexpr (TAPS_W < kMaxPlanarTaps)
    fill_planar_outer<1, TAPS_W + 1>(k);
}

template <int VECTORS, int ROWS>
static OMNICONV_INLINE void fill_planar(PlanarKernels& k) {
  if constexpr (ROWS > 0) {
    k.tile[0][VECTORS][ROWS] = planar_tile<ROWS, VECTORS, PlanarMode(0)>;
    k.tile[1][VECTORS][ROWS] = planar_tile<ROWS, VECTORS, PlanarMode(1)>;
    k.tile[2][VECTORS][ROWS] = planar_slide<ROWS, VECTORS>;
    fill_planar<VECTORS, ROWS - 1>(k);
  } else if constexpr (VECTORS > 1) {
    fill_planar<VECTORS - 1, planar_rows(VECTORS - 1)>(k);
  }
}

template <int VECTORS, int ROWS = planar_rows_3(VECTORS)>
static void fill_planar_3(PlanarKernels& k) {
  constexpr int most = planar_rows_3(VECTORS), least = (most + 1) / 2;
  k.rows_3[VECTORS] = most;
  k.least_3[VECTORS] = least;
  k.slide_3[VECTORS][ROWS] = planar_slide_3<ROWS, VECTORS>;
  if constexpr (ROWS > least) fill_planar_3<VECTORS, ROWS - 1>(k);
}

static PlanarKernels planar_kernels() {
  PlanarKernels k{};
  for (int v = 1; v <= kMaxPlanarVectors; ++v) k.rows[v] = planar_rows(v);
  fill_planar<kMaxPlanarVectors, planar_rows(kMaxPlanarVectors)>(k);
  fill_planar_3<1>(k);
  fill_planar_3<2>(k);
  fill_planar_3<3>(k);
  fill_planar_outer<1, 1>(k);
  k.finish = planar_finish;
  k.lines = planar_lines;
  return k;
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::conv
