// fft/lanes.inl.hpp -- one vocabulary for vectors of float and of double
#pragma once

#include "simd/math.hpp"
#include "simd/vec.hpp"

namespace omniconv::fft {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;
// The functions below have the same names for double, and would hide these.
using omniconv::OMNICONV_ISA_NS::broadcast;
using omniconv::OMNICONV_ISA_NS::fma;
using omniconv::OMNICONV_ISA_NS::load;
using omniconv::OMNICONV_ISA_NS::store;
using omniconv::OMNICONV_ISA_NS::transpose;

constexpr int kWidth64 = kWidth / 2;
typedef double f64 __attribute__((vector_size(8 * kWidth64)));
typedef double f64_unaligned __attribute__((vector_size(8 * kWidth64), aligned(8), may_alias));

template <class T>
struct Lanes;

template <>
struct Lanes<float> {
  static constexpr int kCount = kWidth;
  using Vector = f32;
};
template <>
struct Lanes<double> {
  static constexpr int kCount = kWidth64;
  using Vector = f64;
};

static OMNICONV_INLINE f64 load(const double* p) { return *reinterpret_cast<const f64_unaligned*>(p); }
static OMNICONV_INLINE void store(double* p, f64 v) { *reinterpret_cast<f64_unaligned*>(p) = v; }
static OMNICONV_INLINE f64 broadcast(double x) { return x - f64{}; }

static OMNICONV_INLINE f64 fma(f64 a, f64 b, f64 c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_pd(a, b, c);
#elif defined(OMNICONV_VEC_AVX2)
  return _mm256_fmadd_pd(a, b, c);
#elif defined(__aarch64__)
  return vfmaq_f64(c, a, b);
#else
  return a * b + c;
#endif
}

// Which lane of a second vector stands in for lane i of the first: the two halves of a step of the transpose.
#if defined(__AVX512F__)
static OMNICONV_INLINE void exchange(f64& a, f64& b, int distance) {
  const f64 x = a, y = b;
  if (distance == 1) {
    a = __builtin_shufflevector(x, y, 0, 8, 2, 10, 4, 12, 6, 14);
    b = __builtin_shufflevector(x, y, 1, 9, 3, 11, 5, 13, 7, 15);
  } else if (distance == 2) {
    a = __builtin_shufflevector(x, y, 0, 1, 8, 9, 4, 5, 12, 13);
    b = __builtin_shufflevector(x, y, 2, 3, 10, 11, 6, 7, 14, 15);
  } else {
    a = __builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11);
    b = __builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15);
  }
}
#elif defined(OMNICONV_VEC_AVX2)
static OMNICONV_INLINE void exchange(f64& a, f64& b, int distance) {
  const f64 x = a, y = b;
  if (distance == 1) {
    a = __builtin_shufflevector(x, y, 0, 4, 2, 6);
    b = __builtin_shufflevector(x, y, 1, 5, 3, 7);
  } else {
    a = __builtin_shufflevector(x, y, 0, 1, 4, 5);
    b = __builtin_shufflevector(x, y, 2, 3, 6, 7);
  }
}
#else
static OMNICONV_INLINE void exchange(f64& a, f64& b, int) {
  const f64 x = a, y = b;
  a = __builtin_shufflevector(x, y, 0, 2);
  b = __builtin_shufflevector(x, y, 1, 3);
}
#endif

static OMNICONV_INLINE void transpose(f64 (&r)[kWidth64]) {
#pragma GCC unroll 4
  for (int distance = 1; distance < kWidth64; distance *= 2)
#pragma GCC unroll 8
    for (int pair = 0; pair < kWidth64 / 2; ++pair) {
      const int i = pair / distance * 2 * distance + pair % distance;
      exchange(r[i], r[i + distance], distance);
    }
}

// The first n lanes, the rest zero; the rows' ends only, hence a plain loop for both types.
template <class T>
static OMNICONV_INLINE typename Lanes<T>::Vector load_some(const T* p, int64_t from, int64_t to) {
  T lanes[Lanes<T>::kCount] = {};
  for (int64_t i = from; i < to; ++i) lanes[i] = p[i];
  return load(lanes);
}
template <class T>
static OMNICONV_INLINE void store_some(T* p, typename Lanes<T>::Vector v, int64_t from, int64_t to) {
  T lanes[Lanes<T>::kCount];
  store(lanes, v);
  for (int64_t i = from; i < to; ++i) p[i] = lanes[i];
}

// A complex vector in registers.
template <class T>
struct Complex {
  using V = typename Lanes<T>::Vector;
  V re, im;

  static OMNICONV_INLINE Complex at(const T* p) { return {load(p), load(p + Lanes<T>::kCount)}; }
  static OMNICONV_INLINE Complex all(const T* p) { return {broadcast(p[0]), broadcast(p[1])}; }
  OMNICONV_INLINE void to(T* p) const {
    store(p, re);
    store(p + Lanes<T>::kCount, im);
  }
};

template <class T>
static OMNICONV_INLINE Complex<T> operator+(Complex<T> a, Complex<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class T>
static OMNICONV_INLINE Complex<T> operator-(Complex<T> a, Complex<T> b) {
  return {a.re - b.re, a.im - b.im};
}
template <class T>
static OMNICONV_INLINE Complex<T> operator*(Complex<T> a, Complex<T> b) {
  return {fma(a.re, b.re, -(a.im * b.im)), fma(a.re, b.im, a.im * b.re)};
}
// a * conj(b)
template <class T>
static OMNICONV_INLINE Complex<T> times_conj(Complex<T> a, Complex<T> b) {
  return {fma(a.re, b.re, a.im * b.im), fma(a.im, b.re, -(a.re * b.im))};
}
template <class T>
static OMNICONV_INLINE Complex<T> times_i(Complex<T> a) {
  return {-a.im, a.re};
}
template <class T>
static OMNICONV_INLINE Complex<T> times_minus_i(Complex<T> a) {
  return {a.im, -a.re};
}

// (a, b) to (a + w b, a - w b) in six fused operations instead of eight: a - w b = 2 a - (a + w b).
template <class T>
static OMNICONV_INLINE void split(Complex<T>& a, Complex<T>& b, Complex<T> w) {
  const Complex<T> sum{fma(-w.im, b.im, fma(w.re, b.re, a.re)), fma(w.im, b.re, fma(w.re, b.im, a.im))};
  const typename Lanes<T>::Vector two = broadcast(T(2));
  b = {fma(two, a.re, -sum.re), fma(two, a.im, -sum.im)};
  a = sum;
}
// The same with -i w: (re, im) of -i w are (im, -re) of w.
template <class T>
static OMNICONV_INLINE void split_minus_i(Complex<T>& a, Complex<T>& b, Complex<T> w) {
  const Complex<T> sum{fma(w.re, b.im, fma(w.im, b.re, a.re)), fma(-w.re, b.re, fma(w.im, b.im, a.im))};
  const typename Lanes<T>::Vector two = broadcast(T(2));
  b = {fma(two, a.re, -sum.re), fma(two, a.im, -sum.im)};
  a = sum;
}
// The inverse of split, times two.
template <class T>
static OMNICONV_INLINE void merge(Complex<T>& a, Complex<T>& b, Complex<T> w) {
  const Complex<T> difference = a - b;
  a = a + b;
  b = times_conj(difference, w);
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::fft
