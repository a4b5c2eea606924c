// bessel/dual.inl.hpp -- dual numbers: a value and its derivative by v through one formula
#pragma once

#include "bessel/elementary.inl.hpp"

namespace omniconv::bessel {
namespace OMNICONV_ISA_NS {

template <class V>
struct Dual {
  V value, dv;
};
template <class V>
static OMNICONV_INLINE Dual<V> operator+(Dual<V> a, Dual<V> b) {
  return {a.value + b.value, a.dv + b.dv};
}
template <class V>
static OMNICONV_INLINE Dual<V> operator-(Dual<V> a, Dual<V> b) {
  return {a.value - b.value, a.dv - b.dv};
}
template <class V>
static OMNICONV_INLINE Dual<V> operator*(Dual<V> a, Dual<V> b) {
  return {a.value * b.value, fma(a.value, b.dv, a.dv * b.value)};
}
template <class V>
static OMNICONV_INLINE Dual<V> operator/(Dual<V> a, Dual<V> b) {
  const V value = a.value / b.value;
  return {value, (a.dv - value * b.dv) / b.value};
}

static OMNICONV_INLINE f64 multiply_add(f64 a, f64 b, f64 c) { return fma(a, b, c); }
template <class V>
static OMNICONV_INLINE Dual<V> multiply_add(Dual<V> a, Dual<V> b, Dual<V> c) {
  return {fma(a.value, b.value, c.value), fma(a.value, b.dv, fma(a.dv, b.value, c.dv))};
}

// What a text on T, the vector V or Dual<V>, needs beside the operators.
template <class T>
struct Number;
template <>
struct Number<f64> {
  static OMNICONV_INLINE f64 constant(f64 x) { return x; }
  static OMNICONV_INLINE f64 variable(f64 x) { return x; }
  static OMNICONV_INLINE f64 value(f64 x) { return x; }
  static OMNICONV_INLINE f64 exp(f64 x) { return exp_bounded(x); }
  static OMNICONV_INLINE f64 choose(i64 mask, f64 a, f64 b) { return mask ? a : b; }
};
template <>
struct Number<Dual<f64>> {
  using T = Dual<f64>;
  static OMNICONV_INLINE T constant(f64 x) { return {x, f64{}}; }
  static OMNICONV_INLINE T variable(f64 x) { return {x, set<f64>(1)}; }
  static OMNICONV_INLINE f64 value(T x) { return x.value; }
  static OMNICONV_INLINE T exp(T x) {
    const f64 e = exp_bounded(x.value);
    return {e, e * x.dv};
  }
  static OMNICONV_INLINE T choose(i64 mask, T a, T b) { return {mask ? a.value : b.value, mask ? a.dv : b.dv}; }
};

template <class T>
static OMNICONV_INLINE T constant(double x) {
  return Number<T>::constant(set<f64>(x));
}

template <class T, int N>
static OMNICONV_INLINE T horner(const double (&c)[N], T t) {
  T sum = constant<T>(c[N - 1]);
  OMNICONV_UNROLL(32)
  for (int i = N - 2; i >= 0; --i) sum = multiply_add(sum, t, constant<T>(c[i]));
  return sum;
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::bessel
