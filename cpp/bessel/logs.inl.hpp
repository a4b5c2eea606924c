// bessel/logs.inl.hpp -- the logarithms by the uniform expansion (uniform.inl.hpp), some vectors at a time and in
// stages
//
// From v and x to the result is a chain of some 200 cycles, and a core looks ahead no further than 130 to 250
// instructions, hardly more than one vector takes: in one loop it waits. The chains of the stages are short, and a
// stage finds the next vectors' work within reach.
#pragma once

#include "bessel/uniform.inl.hpp"

namespace omniconv::bessel {
namespace OMNICONV_ISA_NS {

// ---- far out, away from the zero line ------------------------------------------------------------------------------

template <class V>
struct FarState {
  V s, s_low, square, w;  // square = v^2
  V log_exponent, log_q;  // log(s) = log_exponent log 2 + 2 atanh(log_q)
  V exponent, q, q_low;   // asinh(v / x), likewise
  V rest;                 // all but the leading term
};

// Here the logarithm is at least 1 / 50 of s: L may be rounded before the rest is added, log(s) / 2 needs no more than
// its absolute error, and there is always an fma.
template <BesselFunction F, int TERMS, class V>
static OMNICONV_INLINE void log_far(int count, const Scalar<V>* v, const Scalar<V>* x, Scalar<V>* out) {
  constexpr int kWide = Real<V>::width;
  const V half = set<V>(0.5), one = set<V>(1);
  FarState<V> tile[kTile];
  const auto order = [&](int i) {
    const V n = load_real<V>(v + i * kWide);
    return is_k(F) ? magnitude(n) : n;
  };
  OMNICONV_UNROLL(1)
  for (int i = 0; i < count; ++i) {
    const Hypot<V> h = hypot(order(i), load_real<V>(x + i * kWide));
    tile[i].s = h.s;
    tile[i].s_low = half * h.rest;  // times 1 / s
    tile[i].square = h.square;
  }
  OMNICONV_UNROLL(1)
  for (int i = 0; i < count; ++i) {
    FarState<V>& t = tile[i];
    const Pair<V> sum = fast_two_sum(t.s, order(i));
    Quotient<V> asinh, log_s;
    begin_log({sum.hi, V{}}, load_real<V>(x + i * kWide), asinh);
    begin_log({t.s, V{}}, one, log_s);
    t.w = one / t.s;
    asinh.inverse = one / asinh.sum;
    t.log_q = log_s.d / log_s.sum;
    t.log_exponent = log_s.exponent;
    t.s_low *= t.w;
    const V low = sum.lo + t.s_low;
    t.exponent = asinh.exponent;
    t.q = asinh.d * asinh.inverse;
    t.q_low = ((low - residue(t.q, asinh.sum, -asinh.d)) - t.q * (asinh.sum_low + low)) * asinh.inverse;
  }
  OMNICONV_UNROLL(1)
  for (int i = 0; i < count; ++i) {
    FarState<V>& t = tile[i];
    constexpr double kConstant = is_k(F) ? kHalfLogHalfPi[0] : -kHalfLog2Pi[0];
    const V square = t.log_q * t.log_q;
    const V rest = fma(t.log_exponent, set<V>(-0.5 * (kLog2In64[0] + kLog2In64[1])), set<V>(kConstant));
    const V half_log = fma(t.log_q * square, atanh_tail(square), t.log_q);
    t.rest = (rest - half_log) + series<Weight::plain, TERMS, is_k(F)>(t.square * (t.w * t.w), t.w);
  }
  OMNICONV_UNROLL(1)
  for (int i = 0; i < count; ++i) {
    const FarState<V>& t = tile[i];
    const V n = order(i), square = t.q * t.q, twice = t.q + t.q;
    const Pair<V> asinh = fast_two_sum(t.exponent * set<V>(kLog2High<V>), twice);
    const V tail = fma(t.exponent, set<V>(kLog2Low<V>), twice * (square * atanh_tail(square)));
    const V asinh_low = asinh.lo + fma(set<V>(2), t.q_low, tail);
    const V high = fma(-n, asinh.hi, t.s), low = fma(-n, asinh_low, t.s_low);
    store_real(out + i * kWide, is_k(F) ? (t.rest - low) - high : high + (low + t.rest));
  }
}

// ---- everywhere ----------------------------------------------------------------------------------------------------

template <class V>
struct LogState {
  Hypot<V> h;
  V w, s_low, sum;
  Quotient<V> asinh, log_s;
  Pair<V> log, leading;
};
template <BesselFunction F, class V>
static OMNICONV_INLINE V add_up(const LogState<V>& t) {
  const Pair<V> log_s = finish_log(t.log_s);
  constexpr double kConstant = is_k(F) ? kHalfLogHalfPi[0] : -kHalfLog2Pi[0];
  constexpr double kConstantLow = is_k(F) ? kHalfLogHalfPi[1] : -kHalfLog2Pi[1];
  constexpr double kNarrowed = kConstant - double(Scalar<V>(kConstant)) + kConstantLow;
  const V half = set<V>(-0.5);
  const Pair<V> rest = fast_two_sum(half * log_s.hi, set<V>(kConstant));
  const V low = fma(half, log_s.lo, rest.lo + set<V>(kNarrowed)) + t.sum;
  if constexpr (is_k(F)) return (rest.hi - t.leading.hi) + (low - t.leading.lo);
  return (t.leading.hi + rest.hi) + (t.leading.lo + low);
}

template <BesselFunction F, int TERMS, Place PLACE, class V>
static OMNICONV_INLINE void log_uniform(int count, const Scalar<V>* v, const Scalar<V>* x, Scalar<V>* out) {
  constexpr bool kExtreme = PLACE == Place::extreme;
  constexpr bool kZeroLine = PLACE == Place::zero_line && !is_scaled(F);
  constexpr int kWide = Real<V>::width;
  LogState<V> tile[kTile];
  const auto input = [&](int i) {
    const V order = load_real<V>(v + i * kWide);
    return scaled<kExtreme>(is_k(F) ? magnitude(order) : order, load_real<V>(x + i * kWide));
  };
  OMNICONV_UNROLL(1)
  for (int i = 0; i < count; ++i) {
    const Scaled<V> in = input(i);
    tile[i].h = hypot(in.v, in.x);
  }
  OMNICONV_UNROLL(1)
  for (int i = 0; i < count; ++i) {
    const Scaled<V> in = input(i);
    LogState<V>& t = tile[i];
    const V one = set<V>(1);
    begin_log({t.h.s, V{}}, one, t.log_s);
    t.w = one / t.h.s;
    t.log_s.inverse = one / t.log_s.sum;
    if constexpr (!kZeroLine) {
      const Pair<V> sum = fast_two_sum(t.h.s, in.v);
      begin_log({sum.hi, sum.lo}, in.own_x, t.asinh);
      t.asinh.inverse = one / t.asinh.sum;
    }
    t.s_low = t.h.rest * (set<V>(0.5) * t.w);
    t.log_s.d_low += t.s_low;
    t.log_s.sum_low += t.s_low;
    if constexpr (!kZeroLine) {
      t.asinh.d_low += t.s_low;
      t.asinh.sum_low += t.s_low;
    }
    if constexpr (kExtreme) {
      t.asinh.exponent += in.shift;
      // The logarithm of the unscaled s: by as many powers of two more as v and x were scaled by.
      t.log_s.exponent += in.factor < set<V>(1) ? set<V>(-Limits<V>::down_log2) : V{};
    }
  }
  OMNICONV_UNROLL(1)
  for (int i = 0; i < count; ++i) {
    const Scaled<V> in = input(i);
    const V ratio = in.v * tile[i].w, p = ratio * ratio;
    tile[i].sum = series<Weight::plain, TERMS, is_k(F)>(p, kExtreme ? tile[i].w * in.factor : tile[i].w);
  }
  if constexpr (!kZeroLine) {
    OMNICONV_UNROLL(1)
    for (int i = 0; i < count; ++i) tile[i].log = finish_log(tile[i].asinh);
  }
  OMNICONV_UNROLL(1)
  for (int i = 0; i < count; ++i) {
    const Scaled<V> in = input(i);
    LogState<V>& t = tile[i];
    if constexpr (kZeroLine)
      t.leading = zero_line(in.v, in.x);
    else
      t.leading = leading<is_scaled(F)>(in.v, in.x, t.h, t.s_low, t.log);
    if constexpr (kExtreme && !is_scaled(F)) {
      const auto near = near_zero_line(in.v, in.x);
      const Pair<V> z = zero_line(in.v, in.x);
      t.leading = {near ? z.hi : t.leading.hi, near ? z.lo : t.leading.lo};
    }
    if constexpr (kExtreme) t.leading = {t.leading.hi * in.inverse, t.leading.lo * in.inverse};
  }
  OMNICONV_UNROLL(1)
  for (int i = 0; i < count; ++i) store_real(out + i * kWide, add_up<F>(tile[i]));
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::bessel
