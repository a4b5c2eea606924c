// bessel/uniform.inl.hpp -- everything for hypot(v, x) from 24 (float32: 12) upwards, by one expansion
//
// With s = hypot(v, x), w = 1 / s, p = (v / s)^2, q = (x / s)^2 and L = s - v asinh(v / x),
//   log I_v(x) =  L - log(2 pi s) / 2 + sum_k D_k(p) w^k
//   log K_v(x) = -L + log(pi / (2 s)) / 2 + sum_k (-1)^k D_k(p) w^k.
// This is Debye's expansion (DLMF 10.41.3-4) written in s instead of v and its logarithm taken term by term
// (tables.hpp): nothing is divided by v, so that v = 0 gives Hankel's series and x -> 0 gives Stirling's. With H = sum
// (k + 2j) c_kj p^j w^k over the coefficients c_kj of D_k, and G = sum j c_kj p^{j-1} w^k,
//   d/dx log I = s / x - x w^2 / 2 - x w^2 H,   d/dv log I = -asinh(v / x) - v w^2 / 2 + v w^2 (2 G - H),
// for K with the opposite sign of the leading terms and of the odd k; I_{v+1} / I_v = d/dx log I - v / x, where
// (s - v) / x = x / (s + v) leaves no cancellation.
//
// Error. Near x = 0.6627 v, the zero line, s and v asinh(v / x) agree: both are carried as pairs, 2^-58 s together, and
// within |x / v - 0.6627| < 1 / 64, where that would not do, L is (x - 0.6627 v) times a polynomial. All else is added
// in working precision.
#pragma once

#include "bessel/elementary.inl.hpp"
#include "bessel/functions.hpp"
#include "bessel/tables.hpp"

namespace omniconv::bessel {
namespace OMNICONV_ISA_NS {

constexpr int kTile = Real<f64>::width == 1 ? 1 : 8;  // vectors in the stages together; a GPU's thread has one value

// ---- the series ----------------------------------------------------------------------------------------------------

enum class Weight { plain, h, h2, g };  // times 1; (k + 2j); (k + 2j) (k + 2j + 2); the derivative by p

template <Weight W>
static OMNICONV_INLINE constexpr double coefficient(int k, int j) {
  const int at = k * (k + 1) / 2 - 1;
  if (W == Weight::g) return j < k ? (j + 1) * kUniform[at + j + 1] : 0;
  const double c = kUniform[at + j];
  if (W == Weight::h) return (k + 2 * j) * c;
  if (W == Weight::h2) return (k + 2.0 * j) * (k + 2 * j + 2) * c;
  return c;
}

template <Weight W, int K, class V>
static OMNICONV_INLINE V row(V p) {
  constexpr int kDegree = W == Weight::g ? K - 1 : K;
  V sum = set<V>(coefficient<W>(K, kDegree));
  OMNICONV_UNROLL(32)
  for (int j = kDegree - 1; j >= 0; --j) sum = fma(sum, p, set<V>(coefficient<W>(K, j)));
  return sum;
}

// sum of D_k w^(k - K) over k = K, K + 2, ... <= LAST.
template <Weight W, int K, int LAST, class V>
static OMNICONV_INLINE V every_second(V p, V w2) {
  if constexpr (K + 2 <= LAST)
    return fma(every_second<W, K + 2, LAST>(p, w2), w2, row<W, K>(p));
  else
    return row<W, K>(p);
}

// The sum over k for I, or with alternating signs for K.
template <Weight W, int TERMS, bool IS_K, class V>
static OMNICONV_INLINE V series(V p, V w) {
  const V w2 = w * w, odd = w * every_second<W, 1, TERMS>(p, w2), even = w2 * every_second<W, 2, TERMS>(p, w2);
  return IS_K ? even - odd : even + odd;
}

// ---- the leading terms ---------------------------------------------------------------------------------------------

template <class V>
struct Limits;  // of the path without scaling: squares, cubes and quotients of what lies between stay in range
template <>
struct Limits<f64> {
  static constexpr double large = 0x1p300, small = 0x1p-500, down = 0x1p-600, up = 0x1p600, down_log2 = -600,
                          up_log2 = 600;
};
template <>
struct Limits<f32> {
  static constexpr double large = 0x1p60, small = 0x1p-60, down = 0x1p-80, up = 0x1p90, down_log2 = -80, up_log2 = 90;
};

// v and x times a power of two that keeps their squares in range, and x once more on its own (it may be far smaller).
template <class V>
struct Scaled {
  V v, x, factor, inverse;  // factor = 1 / inverse
  V own_x, shift;           // log((v + s) / x) = log(scaled (v + s) / own_x) + shift log 2
};

template <bool EXTREME, class V>
static OMNICONV_INLINE Scaled<V> scaled(V v, V x) {
  const V one = set<V>(1);
  if constexpr (!EXTREME) return {v, x, one, one, x, V{}};
  using L = Limits<V>;
  const auto is_large = (v > set<V>(L::large)) | (x > set<V>(L::large));
  const V factor = is_large ? set<V>(L::down) : one, inverse = is_large ? set<V>(1 / L::down) : one;
  const auto x_large = x > set<V>(L::large), x_small = x < set<V>(L::small);
  const V own = x * (x_small ? set<V>(L::up) : x_large ? set<V>(L::down) : one);
  const V own_log2 = x_small ? set<V>(L::up_log2) : x_large ? set<V>(L::down_log2) : V{};
  return {v * factor, x * factor, factor, inverse, own, own_log2 - (is_large ? set<V>(L::down_log2) : V{})};
}

template <class V>
struct Hypot {
  V s, rest;             // v^2 + x^2 - s^2
  V square, square_low;  // v^2
};

template <class V>
static OMNICONV_INLINE Hypot<V> hypot(V v, V x) {
  const Pair<V> a = two_product(v, v), b = two_product(x, x);
  const Pair<V> n = fast_two_sum(max(a.hi, b.hi), min(a.hi, b.hi));
  const V s = sqrt(n.hi);
  return {s, (n.lo + (a.lo + b.lo)) - residue(s, s, -n.hi), a.hi, a.lo};
}

// s - v asinh(v / x) near its zero line, as (x - z0 v)(slope + e tail(e)) with e = x / v - z0.
template <class V>
static OMNICONV_INLINE Pair<V> zero_line(V v, V x) {
  const V z = set<V>(kZeroLine[0]);
  const Pair<V> product = two_product(z, v);
  // The second constant is the exact root less the first one as a V, which for float32 is not kZeroLine[1].
  const V low = set<V>(kZeroLine[0] - double(Scalar<V>(kZeroLine[0])) + kZeroLine[1]);
  const Pair<V> d = fast_two_sum(x - product.hi, -fma(low, v, product.lo));
  const V e = d.hi / v;
  V tail;
  if constexpr (kIsDouble<V>)
    tail = polynomial(kZeroTail64, e);
  else
    tail = polynomial(kZeroTail32, e);
  const V slope = set<V>(kZeroSlope[0]);
  const V slope_low = set<V>(kZeroSlope[0] - double(Scalar<V>(kZeroSlope[0])) + kZeroSlope[1]);
  const Pair<V> high = two_product(d.hi, slope);
  return {high.hi, fma(d.hi, fma(e, tail, slope_low), fma(d.lo, slope, high.lo))};
}

template <class V>
static OMNICONV_INLINE auto near_zero_line(V v, V x) {
  return magnitude(fma(v, set<V>(-kZeroLine[0]), x)) < v * set<V>(1.0 / 64);
}

// s - v asinh(v / x); for the functions scaled by e^x the same less x, from s - x = v^2 / (s + x);
// asinh = asinh(v / x).
template <bool SCALED, class V>
static OMNICONV_INLINE Pair<V> leading(V v, V x, const Hypot<V>& h, V s_low, Pair<V> asinh) {
  const Pair<V> t = two_product(v, asinh.hi);
  const V t_low = fma(v, asinh.lo, t.lo);
  Pair<V> first = {h.s, s_low};
  if constexpr (SCALED) {
    const Pair<V> u = fast_two_sum(h.s, x);
    const V inverse = set<V>(1) / u.hi, e = h.square * inverse;
    const V rest = (h.square_low - residue(e, u.hi, -h.square)) - e * (u.lo + s_low);
    first = {e, rest * inverse};
  }
  const Pair<V> difference = two_sum(first.hi, -t.hi);
  return {difference.hi, difference.lo + (first.lo - t_low)};
}

// ---- the functions -------------------------------------------------------------------------------------------------

enum class Place { far, plain, zero_line, extreme };  // far: the first tiers, away from the zero line

constexpr bool is_log(BesselFunction f) { return f <= BesselFunction::log_kve; }
constexpr bool is_grad(BesselFunction f) { return f >= BesselFunction::log_iv_grad; }
constexpr bool is_scaled(BesselFunction f) { return f == BesselFunction::log_ive || f == BesselFunction::log_kve; }
constexpr bool is_k(BesselFunction f) {
  return f == BesselFunction::log_kv || f == BesselFunction::log_kve || f == BesselFunction::kv_ratio ||
         f == BesselFunction::log_kv_grad;
}

// Ratios, and the derivative of one: no cancellation anywhere, hence no pairs.
template <BesselFunction F, int TERMS, Place PLACE, class V>
static OMNICONV_INLINE V ratio_uniform(V v, V x) {
  constexpr bool kK = is_k(F);
  const V one = set<V>(1), half = set<V>(0.5);
  const Scaled<V> in = scaled<PLACE == Place::extreme>(v, x);
  const V s = sqrt(fma(in.v, in.v, in.x * in.x)), scaled_w = one / s;
  const V w = scaled_w * in.factor, sum = s + in.v;
  const V v_w = in.v * scaled_w, x_w = in.x * scaled_w, p = v_w * v_w;
  const V h = series<Weight::h, TERMS, kK>(p, w);
  // x / s^2, of which 1 - r at small v is made.
  const V correction = F == BesselFunction::iv_ratioc ? in.x / fma(in.v, in.v, in.x * in.x) * in.factor : x_w * w;
  if constexpr (F == BesselFunction::iv_ratio || F == BesselFunction::iv_ratioc) {
    const V first = PLACE == Place::extreme ? x * (in.factor / sum) : x / sum, less = correction * (half + h);
    if constexpr (F == BesselFunction::iv_ratio) return first - less;
    // 1 - x / (s + v) = (v + (s - x)) / (s + v), with what the roundings of both left: kappa of von Mises-Fisher errs
    // by as much as this.
    const Hypot<V> exact = hypot(in.v, in.x);
    const V sum_low = fast_two_sum(s, in.v).lo + (exact.rest + (exact.s - s) * (s + s)) * (half * scaled_w);
    const V t = in.v / (s + in.x), n = fma(in.v, t, in.v), n_low = fma(in.v, t, in.v - n);
    const V rest = n / sum, rest_low = ((n_low - residue(rest, sum, -n)) - rest * sum_low) / sum;
    // Where x / (s + v) is the smaller part the difference is safer.
    const V safe = (one - first) + less, fine = rest + (rest_low + less);
    return first < half ? safe : fine;
  }
  if constexpr (F == BesselFunction::kv_ratio) return (sum / x) * in.inverse + correction * (half + h);
  if constexpr (F == BesselFunction::iv_ratio_dx) {
    const V h2 = series<Weight::h2, TERMS, kK>(p, w), q = x_w * x_w;
    return v_w * (in.factor / sum) + w * (w * ((q - half) - fma(-q, h2, h)));
  }
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::bessel
