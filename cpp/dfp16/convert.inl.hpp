// dfp16/convert.inl.hpp -- float32 to mantissas and exact sums to float32; largest magnitudes and norms
//
// Scaling by a power of two is exact (or the result is far below 1/2 and rounds to 0), so a mantissa is rounded once,
// to nearest even, by the conversion to int32. Sums to float32: an int64 below 2^51 becomes a double by adding it to
// the bits of 1.5 * 2^52 (there is no instruction for it before AVX-512DQ), the scale is a power of two, the conversion
// to float32 is the only rounding; larger sums keep what they lose on the way to double in its last bit (round to odd,
// Boldo and Melquiond 2008), which again leaves one rounding.
#pragma once

#include "dfp16/kernels.hpp"
#include "dfp16/lines.inl.hpp"
#include "dfp16/pairs.inl.hpp"
#include "simd/real.hpp"
#include "simd/vec.hpp"

namespace omniconv::dfp16 {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

typedef int16_t i16_half __attribute__((vector_size(2 * kWidth)));
typedef int16_t i16_half_at __attribute__((vector_size(2 * kWidth), aligned(2), may_alias));

static OMNICONV_INLINE i32 round_to_int(f32 v) {
#if defined(__AVX512F__)
  return (i32)_mm512_maskz_cvtps_epi32(0xffff, v);
#elif defined(OMNICONV_VEC_AVX2)
  return (i32)_mm256_cvtps_epi32(v);
#elif defined(__x86_64__)
  return (i32)_mm_cvtps_epi32(v);
#elif defined(__aarch64__)
  return (i32)vcvtnq_s32_f32(v);
#else
  i32 r{};
  for (int i = 0; i < kWidth; ++i) r[i] = int32_t(__builtin_rintf(v[i]));
  return r;
#endif
}

// What fits into 16 bits already.
static OMNICONV_INLINE i16_half narrow(i32 v) {
#if defined(__AVX512F__)
  return (i16_half)_mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)v);
#elif defined(OMNICONV_VEC_AVX2)
  const __m256i packed = _mm256_packs_epi32((__m256i)v, (__m256i)v);
  return (i16_half)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
#else
  return __builtin_convertvector(v, i16_half);
#endif
}

static OMNICONV_INLINE i16_half quantised(f32 v, const FillArgs& a) {
  return narrow(round_to_int(v * broadcast(a.factor[0]) * broadcast(a.factor[1])));
}
static OMNICONV_INLINE int16_t quantised(float v, const FillArgs& a) {
  return int16_t(round_to_int(broadcast(v * a.factor[0] * a.factor[1]))[0]);
}

static OMNICONV_INLINE double stepped(double v, const FillArgs& a) {
  constexpr double kMagic = 0x1.8p52;  // beyond it there are no fractions: adding it rounds to nearest even
  v *= a.inverse;
  v = v > a.low ? v : a.low;
  v = v < a.high ? v : a.high;
  return v + kMagic - kMagic;
}
static OMNICONV_INLINE i16_half stepped(f32 v, const FillArgs& a) {
  typedef float f32_half __attribute__((vector_size(2 * kWidth)));
  typedef int32_t i32_half __attribute__((vector_size(2 * kWidth)));
  constexpr double kMagic = 0x1.8p52;
  union {
    f32 whole;
    f32_half half[2];
  } from = {v};
  union {
    i32_half half[2];
    i32 whole;
  } to;
  for (int part = 0; part < 2; ++part) {
    f64 x = __builtin_convertvector(from.half[part], f64) * a.inverse;
    x = x > a.low ? x : set<f64>(a.low);
    x = x < a.high ? x : set<f64>(a.high);
    to.half[part] = __builtin_convertvector(x + kMagic - kMagic, i32_half);
  }
  return narrow(to.whole);
}

static OMNICONV_INLINE int16_t stepped(float v, const FillArgs& a) { return int16_t(stepped(double(v), a)); }

// One of the two ways from float32 to integers, of a vector or of one value.
template <bool STEPS, class V>
static OMNICONV_INLINE auto integer_of(V v, const FillArgs& a) {
  if constexpr (STEPS)
    return stepped(v, a);
  else
    return quantised(v, a);
}

template <bool STEPS>
static void fill_element(const FillArgs& a, int64_t i, int64_t j) {
  const int64_t at = i * a.row_stride + j * a.column_stride;
  a.dst[i * a.dst_row + j] =
      a.integer ? static_cast<const int16_t*>(a.src)[at] : integer_of<STEPS>(static_cast<const float*>(a.src)[at], a);
}

// Columns contiguous.
template <bool STEPS>
static void fill_straight(const FillArgs& a) {
  for (int64_t i = 0; i < a.rows; ++i) {
    const float* from = static_cast<const float*>(a.src) + i * a.row_stride;
    int16_t* to = a.dst + i * a.dst_row;
    int64_t j = 0;
    for (; j + kWidth <= a.columns; j += kWidth)
      *reinterpret_cast<i16_half_at*>(to + j) = integer_of<STEPS>(load(from + j), a);
    for (; j < a.columns; ++j) to[j] = integer_of<STEPS>(from[j], a);
  }
}

// Rows contiguous: through the in-register transpose.
template <bool STEPS>
static void fill_transposed(const FillArgs& a) {
  const float* src = static_cast<const float*>(a.src);
  for (int64_t i = 0; i < a.rows; i += kWidth) {
    const int n = int(a.rows - i < kWidth ? a.rows - i : kWidth);
    int64_t j = 0;
    for (; j + kWidth <= a.columns; j += kWidth) {
      f32 block[kWidth];
#pragma GCC unroll 16
      for (int c = 0; c < kWidth; ++c) {
        const float* from = src + i + (j + c) * a.column_stride;
        block[c] = n == kWidth ? load(from) : load_partial(from, n);
      }
      transpose(block);
#pragma GCC unroll 16
      for (int r = 0; r < kWidth; ++r)
        if (r < n) *reinterpret_cast<i16_half_at*>(a.dst + (i + r) * a.dst_row + j) = integer_of<STEPS>(block[r], a);
    }
    for (; j < a.columns; ++j)
      for (int r = 0; r < n; ++r) fill_element<STEPS>(a, i + r, j);
  }
}

template <bool STEPS>
static void fill_by(const FillArgs& given) {
  FillArgs a = given;
  if (a.columns == 1 && a.dst_row == 1) {  // one channel: its pixels are a row
    a.columns = a.rows;
    a.rows = 1;
    a.column_stride = a.row_stride;
  }
  if (!a.integer && a.column_stride == 1) return fill_straight<STEPS>(a);
  if (!a.integer && a.row_stride == 1) return fill_transposed<STEPS>(a);
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < a.columns; ++j) fill_element<STEPS>(a, i, j);
}

static void fill(const FillArgs& a) { a.inverse != 0 ? fill_by<true>(a) : fill_by<false>(a); }

// As integers, magnitudes of float32 are in order, and NaN and infinity come above all others.
static int32_t max_bits(const float* values, int64_t count, int64_t stride) {
  i32 most[4] = {};
  int64_t i = 0;
  if (stride == 1)
    for (; i + 4 * kWidth <= count; i += 4 * kWidth)
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        const i32 bits = as_i32(load(values + i + v * kWidth)) & 0x7fffffff;
        most[v] = bits > most[v] ? bits : most[v];
      }
  int32_t result = 0;
  for (int v = 0; v < 4; ++v)
    for (int lane = 0; lane < kWidth; ++lane) result = most[v][lane] > result ? most[v][lane] : result;
  for (; i < count; ++i) {
    const int32_t bits = as_i32(broadcast(values[i * stride]))[0] & 0x7fffffff;
    result = bits > result ? bits : result;
  }
  return result;
}

static void squares(const int16_t* values, int64_t blocks, int64_t* sums) {
  for (int64_t b = 0; b < blocks; ++b) {
    int64_t sum = 0;
    for (int i = 0; i < kNormBlock; ++i) {
      const int32_t v = values[b * kNormBlock + i];
      sum += int64_t(v * v);
    }
    sums[b] = sum;
  }
}

static int64_t window_max(const int64_t* prefix, int64_t count, int64_t window) {
  int64_t most = 0;
  for (int64_t i = 0; i + window < count; ++i) {
    const int64_t sum = prefix[i + window] - prefix[i];
    most = sum > most ? sum : most;
  }
  return most;
}

static OMNICONV_INLINE double double_of(int64_t sum) {
  constexpr int64_t kExact = int64_t{1} << 53;
  const int64_t size = sum < 0 ? -sum : sum;
  if (size < kExact) return double(sum);
  constexpr int64_t kDropped = (int64_t{1} << 11) - 1;  // above 2^53 a double drops up to ten bits
  const int64_t odd = (size & ~kDropped) | ((size & kDropped) != 0 ? int64_t{1} << 11 : 0);
  return sum < 0 ? -double(odd) : double(odd);
}

typedef int64_t i64_at __attribute__((vector_size(8 * kWidth64), aligned(8), may_alias));
typedef float f32_half_at __attribute__((vector_size(4 * kWidth64), aligned(4), may_alias));

static OMNICONV_INLINE i64 load_sums(const FloatArgs& a, int64_t j) {
  if (!a.digits) return *reinterpret_cast<const i64_at*>(a.sums + j);
  const int64_t* high = a.sums + j / kWidth * 2 * kWidth + j % kWidth;
  return (*reinterpret_cast<const i64_at*>(high) << 8) + *reinterpret_cast<const i64_at*>(high + kWidth);
}

// Whole vectors are computed, so sums and out have room for them.
static void to_float(const FloatArgs& a) {
  constexpr int64_t kMagicBits = 0x4338000000000000;
  constexpr double kMagic = 0x1.8p52;
  for (int64_t j = 0; j < a.columns; j += kWidth64) {
    const i64 sums = load_sums(a, j);
    f64 value;
    if (a.small)
      value = (f64)(sums + kMagicBits) - kMagic;
    else
      for (int i = 0; i < kWidth64; ++i) value[i] = double_of(sums[i]);
    value *= a.row_scale;
    if (a.column_scale)
      for (int i = 0; i < kWidth64; ++i)
        if (j + i < a.columns) value[i] *= a.column_scale[j + i];
    *reinterpret_cast<f32_half_at*>(a.out + j) = __builtin_convertvector(value, f32_half_at);
  }
}

template <int ROWS>
static void list_tiles(Kernels& k) {
  k.pairs[ROWS] = pairs<ROWS>;
  if constexpr (ROWS > 1) list_tiles<ROWS - 1>(k);
}

template <int ROWS>
static Kernels make_kernels() {
  Kernels k{};
  k.width = kWidth;
  k.lanes = 2 * kWidth;
  k.tile_rows = ROWS;
  list_tiles<ROWS>(k);
  k.pack_pairs = pack_pairs;
  k.fill = fill;
  k.max_bits = max_bits;
  k.squares = squares;
  k.window_max = window_max;
  k.to_float = to_float;
  k.line = line;
  k.dot = dot;
  return k;
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::dfp16
