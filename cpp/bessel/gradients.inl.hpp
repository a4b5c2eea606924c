// bessel/gradients.inl.hpp -- both derivatives of the logarithms by the uniform expansion, in stages as in logs.inl.hpp
//
// No cancellation anywhere, hence no pairs but for the argument of the logarithm.
#pragma once

#include "bessel/uniform.inl.hpp"

namespace omniconv::bessel {
namespace OMNICONV_ISA_NS {

template <class V>
struct GradientState {
  V s, w;   // of the scaled values; w = 1 / s
  V s_low;  // times 1 / s
  V h, g;   // the series
  V log;    // asinh(v / x)
};

template <BesselFunction F, int TERMS, Place PLACE, class V>
static OMNICONV_INLINE void gradient_uniform(int count, const Scalar<V>* v, const Scalar<V>* x, Scalar<V>* dv,
                                             Scalar<V>* dx) {
  constexpr bool kExtreme = PLACE == Place::extreme, kK = is_k(F);
  constexpr int kWide = Real<V>::width;
  const V half = set<V>(0.5), one = set<V>(1);
  GradientState<V> tile[kTile];
  const auto input = [&](int i) { return scaled<kExtreme>(load_real<V>(v + i * kWide), load_real<V>(x + i * kWide)); };
  OMNICONV_UNROLL(1)
  for (int i = 0; i < count; ++i) {
    const Scaled<V> in = input(i);
    const Hypot<V> h = hypot(in.v, in.x);
    tile[i].s = h.s;
    tile[i].s_low = half * h.rest;
    tile[i].w = one / h.s;
  }
  OMNICONV_UNROLL(1)
  for (int i = 0; i < count; ++i) {
    const Scaled<V> in = input(i);
    GradientState<V>& t = tile[i];
    const V ratio = in.v * t.w, p = ratio * ratio, w = t.w * in.factor;
    t.h = series<Weight::h, TERMS, kK>(p, w);
    t.g = series<Weight::g, TERMS, kK>(p, w);
  }
  OMNICONV_UNROLL(1)
  for (int i = 0; i < count; ++i) {
    const Scaled<V> in = input(i);
    GradientState<V>& t = tile[i];
    // asinh(v / x) = log((v + s) / x) is near v / x where that is small, and a rounded v + s would leave nothing of it.
    const Pair<V> sum = fast_two_sum(t.s, in.v);
    Quotient<V> quotient;
    begin_log({sum.hi, sum.lo + t.s_low * t.w}, in.own_x, quotient);
    quotient.d += quotient.d_low;
    quotient.inverse = one / quotient.sum;
    if constexpr (kExtreme) quotient.exponent += in.shift;
    t.log = finish_log_short(quotient);
  }
  OMNICONV_UNROLL(1)
  for (int i = 0; i < count; ++i) {
    const V own_x = load_real<V>(x + i * kWide);
    const Scaled<V> in = input(i);
    const GradientState<V>& t = tile[i];
    const V w = t.w * in.factor, leading_x = (t.s / own_x) * in.inverse;
    const V rest_x = (in.x * t.w) * w * (half + t.h), rest_v = (in.v * t.w) * w * (fma(set<V>(2), t.g, -t.h) - half);
    store_real(dv + i * kWide, kK ? t.log + rest_v : rest_v - t.log);
    store_real(dx + i * kWide, kK ? -(leading_x + rest_x) : leading_x - rest_x);
  }
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::bessel
