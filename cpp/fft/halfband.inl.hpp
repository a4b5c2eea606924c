// fft/halfband.inl.hpp -- rows at half the rate, and back: half-band filters, whose even taps but the middle one are 0
#pragma once

#include "fft/direct.inl.hpp"

namespace omniconv::fft {
namespace OMNICONV_ISA_NS {

// a0 b0 a1 b1 ... as two vectors.
#if defined(__AVX512F__)
static OMNICONV_INLINE void interleave(f32& a, f32& b) {
  const f32 x = a, y = b;
  a = __builtin_shufflevector(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  b = __builtin_shufflevector(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
static OMNICONV_INLINE void interleave(f64& a, f64& b) {
  const f64 x = a, y = b;
  a = __builtin_shufflevector(x, y, 0, 8, 1, 9, 2, 10, 3, 11);
  b = __builtin_shufflevector(x, y, 4, 12, 5, 13, 6, 14, 7, 15);
}
static OMNICONV_INLINE f64 even_lanes(f64 a, f64 b) { return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14); }
static OMNICONV_INLINE f64 odd_lanes(f64 a, f64 b) { return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15); }
#elif defined(OMNICONV_VEC_AVX2)
static OMNICONV_INLINE void interleave(f32& a, f32& b) {
  const f32 low = _mm256_unpacklo_ps(a, b), high = _mm256_unpackhi_ps(a, b);
  a = _mm256_permute2f128_ps(low, high, 0x20);
  b = _mm256_permute2f128_ps(low, high, 0x31);
}
static OMNICONV_INLINE void interleave(f64& a, f64& b) {
  const f64 low = _mm256_unpacklo_pd(a, b), high = _mm256_unpackhi_pd(a, b);
  a = _mm256_permute2f128_pd(low, high, 0x20);
  b = _mm256_permute2f128_pd(low, high, 0x31);
}
static OMNICONV_INLINE f64 even_lanes(f64 a, f64 b) { return __builtin_shufflevector(a, b, 0, 2, 4, 6); }
static OMNICONV_INLINE f64 odd_lanes(f64 a, f64 b) { return __builtin_shufflevector(a, b, 1, 3, 5, 7); }
#else
static OMNICONV_INLINE void interleave(f32& a, f32& b) {
  const f32 x = a, y = b;
  a = __builtin_shufflevector(x, y, 0, 4, 1, 5);
  b = __builtin_shufflevector(x, y, 2, 6, 3, 7);
}
static OMNICONV_INLINE void interleave(f64& a, f64& b) {
  const f64 x = a, y = b;
  a = __builtin_shufflevector(x, y, 0, 2);
  b = __builtin_shufflevector(x, y, 1, 3);
}
static OMNICONV_INLINE f64 even_lanes(f64 a, f64 b) { return __builtin_shufflevector(a, b, 0, 2); }
static OMNICONV_INLINE f64 odd_lanes(f64 a, f64 b) { return __builtin_shufflevector(a, b, 1, 3); }
#endif
using omniconv::OMNICONV_ISA_NS::even_lanes;
using omniconv::OMNICONV_ISA_NS::odd_lanes;

// sums[i] += tap[j] * (left[-j] + right[j]) for all taps
template <class T>
static OMNICONV_INLINE void add_taps(typename Lanes<T>::Vector* sums, const T* left, const T* right, const T* tap,
                                     int taps) {
  constexpr int W = Lanes<T>::kCount;
  for (int j = 0; j < taps; ++j) {
    const auto w = broadcast(tap[j]);
#pragma GCC unroll 4
    for (int i = 0; i < kHalfBandVectors; ++i)
      sums[i] = fma(w, load(left - j + i * W) + load(right + j + i * W), sums[i]);
  }
}

template <class T>
static void halve(const HalveArgs<T>& args) {
  constexpr int64_t W = Lanes<T>::kCount, kTile = kHalfBandVectors * W;
  const HalveArgs<T> a = args;
  const typename Lanes<T>::Vector half = broadcast(T(0.5));
  T even[kHalfBandBlock + 2 * kMaxHalfBandTaps + 2 * kTile], odd[kHalfBandBlock + 2 * kMaxHalfBandTaps + 2 * kTile];
  for (int64_t p = a.begin; p < a.end; p += kHalfBandBlock) {
    const int64_t count = a.end - p < kHalfBandBlock ? a.end - p : kHalfBandBlock;
    touch_range(a.touch, 2 * p, 2 * (p + count));
    const int64_t needed = (count + kTile - 1) / kTile * kTile + 2 * a.taps, at = a.source.first + 2 * (p - a.taps);
    const auto part = [&](int64_t i, typename Lanes<T>::Vector x, typename Lanes<T>::Vector y) {
      store(even + i, even_lanes(x, y));
      store(odd + i, odd_lanes(x, y));
    };
    if (!a.source.gate && at >= 0 && at + 2 * (needed + W) <= a.source.size)
      for (int64_t i = 0; i < needed; i += W)
        part(i, load(a.source.data + at + 2 * i), load(a.source.data + at + 2 * i + W));
    else
      for (int64_t i = 0; i < needed; i += W) part(i, read(a.source, at + 2 * i), read(a.source, at + 2 * i + W));
    for (int64_t i = 0; i < count; i += kTile) {
      typename Lanes<T>::Vector sums[kHalfBandVectors];
#pragma GCC unroll 4
      for (int q = 0; q < kHalfBandVectors; ++q) sums[q] = half * load(even + a.taps + i + q * W);
      add_taps<T>(sums, odd + a.taps + i - 1, odd + a.taps + i, a.tap, a.taps);
#pragma GCC unroll 4
      for (int q = 0; q < kHalfBandVectors; ++q) store(a.x + p + i + q * W, sums[q]);
    }
  }
}

template <class T>
static void twice(const TwiceArgs<T>& args) {
  constexpr int64_t W = Lanes<T>::kCount, kTile = kHalfBandVectors * W;
  const TwiceArgs<T> a = args;  // which no store to y can change
  for (int64_t p = a.begin; p < a.end; p += kTile) {
    touch_range(a.out.touch, 2 * p, 2 * (p + kTile));
    typename Lanes<T>::Vector sums[kHalfBandVectors] = {};
    add_taps<T>(sums, a.x + p, a.x + p + 1, a.tap, a.taps);
#pragma GCC unroll 4
    for (int q = 0; q < kHalfBandVectors; ++q) {
      auto left = load(a.x + p + q * W), right = sums[q] + sums[q];
      interleave(left, right);
      write(a.out, 2 * (p + q * W), left);
      write(a.out, 2 * (p + q * W) + W, right);
    }
  }
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::fft
