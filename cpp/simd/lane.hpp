// cpp/simd/lane.hpp -- the vectors of real.hpp with one element, for CUDA: a thread is a lane
//
// Structs, not the numbers themselves: a comparison has to give 0 or -1, as one of vectors does.
#pragma once

#include <cstdint>
#include <cstring>

#include "omniconv/options.hpp"

#ifndef OMNICONV_ISA_NS
#error "define OMNICONV_ISA_NS before including simd/lane.hpp"
#endif

#if defined(__CUDACC__)
#define OMNICONV_INLINE __device__ __forceinline__
#else
#include <cmath>
#define OMNICONV_INLINE inline __attribute__((always_inline))
#endif

namespace omniconv {
namespace OMNICONV_ISA_NS {

template <class T>
struct Lane {
  T n;
};
using f32 = Lane<float>;
using f64 = Lane<double>;
using i32 = Lane<int32_t>;
using i64 = Lane<int64_t>;

// Integers, masks among them, and the unsigned ones, whose sums may wrap.
template <>
struct Lane<int32_t> {
  int32_t n;
  OMNICONV_INLINE explicit operator bool() const { return n != 0; }
};
template <>
struct Lane<int64_t> {
  int64_t n;
  OMNICONV_INLINE explicit operator bool() const { return n != 0; }
};

template <class T>
struct MaskOf;  // what comparing two gives
template <>
struct MaskOf<float> {
  using type = int32_t;
};
template <>
struct MaskOf<int32_t> {
  using type = int32_t;
};
template <>
struct MaskOf<double> {
  using type = int64_t;
};
template <>
struct MaskOf<int64_t> {
  using type = int64_t;
};
template <class T>
struct Same {
  using type = T;  // a number beside a vector takes the vector's type
};
template <class T>
using Number1 = typename Same<T>::type;

#define OMNICONV_LANE_OPERATOR(op)                                           \
  template <class T>                                                         \
  static OMNICONV_INLINE Lane<T> operator op(Lane<T> a, Lane<T> b) {         \
    return {T(a.n op b.n)};                                                  \
  }                                                                          \
  template <class T>                                                         \
  static OMNICONV_INLINE Lane<T> operator op(Lane<T> a, Number1<T> b) {      \
    return {T(a.n op b)};                                                    \
  }                                                                          \
  template <class T>                                                         \
  static OMNICONV_INLINE Lane<T> operator op(Number1<T> a, Lane<T> b) {      \
    return {T(a op b.n)};                                                    \
  }                                                                          \
  template <class T>                                                         \
  static OMNICONV_INLINE Lane<T>& operator op## = (Lane<T> & a, Lane<T> b) { \
    return a = a op b;                                                       \
  }
OMNICONV_LANE_OPERATOR(+)
OMNICONV_LANE_OPERATOR(-)
OMNICONV_LANE_OPERATOR(*)
OMNICONV_LANE_OPERATOR(/)
OMNICONV_LANE_OPERATOR(&)
OMNICONV_LANE_OPERATOR(|)
OMNICONV_LANE_OPERATOR(<<)
OMNICONV_LANE_OPERATOR(>>)
#undef OMNICONV_LANE_OPERATOR

template <class T>
static OMNICONV_INLINE Lane<T> operator-(Lane<T> a) {
  return {-a.n};
}
template <class T>
static OMNICONV_INLINE Lane<T> operator~(Lane<T> a) {
  return {T(~a.n)};
}

#define OMNICONV_LANE_COMPARISON(op)                                                           \
  template <class T>                                                                           \
  static OMNICONV_INLINE Lane<typename MaskOf<T>::type> operator op(Lane<T> a, Lane<T> b) {    \
    return {-typename MaskOf<T>::type(a.n op b.n)};                                            \
  }                                                                                            \
  template <class T>                                                                           \
  static OMNICONV_INLINE Lane<typename MaskOf<T>::type> operator op(Lane<T> a, Number1<T> b) { \
    return {-typename MaskOf<T>::type(a.n op b)};                                              \
  }
OMNICONV_LANE_COMPARISON(<)
OMNICONV_LANE_COMPARISON(<=)
OMNICONV_LANE_COMPARISON(>)
OMNICONV_LANE_COMPARISON(>=)
OMNICONV_LANE_COMPARISON(==)
#undef OMNICONV_LANE_COMPARISON

template <class V>
struct Real;
template <>
struct Real<f32> {
  using scalar = float;
  using bits = i32;
  using word = int32_t;
  using unsigned_word = uint32_t;
  using unsigned_bits = Lane<uint32_t>;
  static constexpr int width = 1, mantissa = 23, bias = 127;
};
template <>
struct Real<f64> {
  using scalar = double;
  using bits = i64;
  using word = int64_t;
  using unsigned_word = uint64_t;
  using unsigned_bits = Lane<uint64_t>;
  static constexpr int width = 1, mantissa = 52, bias = 1023;
};
template <class V>
using Scalar = typename Real<V>::scalar;

template <class V>
static OMNICONV_INLINE V set(double x) {
  return {Scalar<V>(x)};
}
template <class V>
static OMNICONV_INLINE V load_real(const Scalar<V>* p) {
  return {*p};
}
template <class V>
static OMNICONV_INLINE void store_real(Scalar<V>* p, V v) {
  *p = v.n;
}

// The same bits as another type.
template <class To, class From>
static OMNICONV_INLINE To cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

static OMNICONV_INLINE f64 fma(f64 a, f64 b, f64 c) { return {::fma(a.n, b.n, c.n)}; }
static OMNICONV_INLINE f32 fma(f32 a, f32 b, f32 c) { return {::fmaf(a.n, b.n, c.n)}; }
static OMNICONV_INLINE f64 sqrt(f64 v) { return {::sqrt(v.n)}; }
static OMNICONV_INLINE f32 sqrt(f32 v) { return {::sqrtf(v.n)}; }

// A NaN in either operand comes out as the second operand.
template <class T>
static OMNICONV_INLINE Lane<T> min(Lane<T> a, Lane<T> b) {
  return {a.n < b.n ? a.n : b.n};
}
template <class T>
static OMNICONV_INLINE Lane<T> max(Lane<T> a, Lane<T> b) {
  return {a.n > b.n ? a.n : b.n};
}
template <class T>
static OMNICONV_INLINE bool any(Lane<T> mask) {
  return mask.n != 0;
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv
