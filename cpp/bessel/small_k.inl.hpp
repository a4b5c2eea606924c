// bessel/small_k.inl.hpp -- K and its ratio for hypot(v, x) < 24, in float64
//
// x > 0.1: K_v(x) = 1/2 int exp(-x cosh t + v t) dt (DLMF 10.32.9), with t = asinh(v / x) + tau:
//   K_v(x) = e^-L / 2 int exp(-s (cosh tau - 1) - v (sinh tau - tau)) dtau,  L = s - v asinh(v / x), s = hypot(v, x).
// The integrand is entire, so the trapezoidal rule on fixed nodes converges like e^(-pi^2 / h): the nodes are
// constants, and one costs two fma and an exp. Weighted with tau and e^+-tau the same sum gives the derivatives and the
// ratio.
//
// x <= 0.1, where such nodes would be too many: Temme's series (1975) for K_m and K_{m+1} with m = v - round(v), and
// the recurrence upwards of g_j = (x / 2)^j K_{m+j}, which stays in range for denormal x.
#pragma once

#include "bessel/small_i.inl.hpp"
#include "bessel/uniform.inl.hpp"

namespace omniconv::bessel {
namespace OMNICONV_ISA_NS {

static OMNICONV_INLINE void accumulate(Pair<f64>& sum, f64 hi, f64 lo) {
  const Pair<f64> s = two_sum(sum.hi, hi);
  sum = {s.hi, sum.lo + (s.lo + lo)};
}

// Weights included, what lies beyond is below 2^-58 of the sums.
constexpr double kTrapezoidEnd = -50;

// What is asked of K at one place: log K (or scaled by e^x), K_{v+1} / K_v, or the derivatives of log K.
template <BesselFunction F>
static OMNICONV_INLINE Result<f64> k_trapezoid(f64 v, f64 x, const Trapezoid& rule) {
  const Hypot<f64> h = hypot(v, x);
  const f64 s = h.s, s_low = h.rest * (set<f64>(0.5) / s);
  f64 sum{}, weighted{}, down{};
  Pair<f64> plain{}, up{};  // the ratio of these two is asked to the last digits
  // One node; false if it and all beyond it are nothing. Each value ends by itself, whatever its neighbours need.
  const auto add = [&](int i) __attribute__((always_inline)) {
    const f64 exponent = fma(s, set<f64>(-rule.even[i]), v * set<f64>(-rule.odd[i]));
    const i64 counts = exponent > set<f64>(kTrapezoidEnd);
    const f64 e = counts ? exp_bounded(max(exponent, set<f64>(kTrapezoidEnd))) : f64{};
    if constexpr (F == BesselFunction::kv_ratio) {
      accumulate(plain, e, f64{});
      const Pair<f64> product = two_product(e, set<f64>(rule.up[i]));
      accumulate(up, product.hi, product.lo);
    } else {
      sum += e;
    }
    if constexpr (is_grad(F)) {
      weighted = fma(e, set<f64>(rule.tau[i]), weighted);
      down = fma(e, set<f64>(rule.down[i]), down);
      up.hi = fma(e, set<f64>(rule.up[i]), up.hi);
    }
    return any(counts);
  };
  for (int i = rule.centre; i >= 0 && add(i); --i) {
  }
  for (int i = rule.centre + 1; i < rule.nodes && add(i); ++i) {
  }
  if constexpr (F == BesselFunction::kv_ratio) {
    const Pair<f64> growth = fast_two_sum(s, v);
    const f64 rest = (growth.lo + s_low) / growth.hi + (up.lo / up.hi - plain.lo / plain.hi);
    const f64 ratio = (growth.hi / x) * (up.hi / plain.hi);
    return {fma(ratio, rest, ratio), f64{}};
  }
  if constexpr (is_grad(F)) {
    const Pair<f64> t = log_quotient({v + s, f64{}}, x);
    const f64 growth = (v + s) / x;
    return {(t.hi + t.lo) + weighted / sum, set<f64>(-0.5) * (fma(growth, up.hi, down / growth) / sum)};
  }
  const Pair<f64> numerator = fast_two_sum(s, v);
  const Pair<f64> asinh = log_quotient({numerator.hi, numerator.lo + s_low}, x);
  const Pair<f64> l = leading<is_scaled(F)>(v, x, h, s_low, asinh);
  const Pair<f64> log_sum = log_quotient({sum * set<f64>(rule.h), f64{}}, set<f64>(2));
  const Pair<f64> total = two_sum(log_sum.hi, -l.hi);
  return {total.hi + (total.lo + (log_sum.lo - l.lo)), f64{}};
}

template <class T>
struct Neighbours {
  T k, next;  // K_m and (x / 2) K_{m+1}
};

// Temme's series. Term k is below 400^-k / k!^2: 6 of them leave 1e-24.
template <class T>
static OMNICONV_INLINE Neighbours<T> temme(T m, f64 x, Pair<f64> log_two_over_x) {
  using N = Number<T>;
  const T square = m * m, one = constant<T>(1), half = constant<T>(0.5);
  // 1 / Gamma(1 + m) = even - m odd, 1 / Gamma(1 - m) = even + m odd, their product sin(pi m) / (pi m).
  const T odd = horner(kGammaOdd, square), even_tail = square * horner(kGammaEven, square);
  const T low = one + (even_tail - m * odd), high = one + (even_tail + m * odd);
  const T log_x = N::constant(log_two_over_x.hi), sigma = m * log_x;
  const T grow = N::exp(sigma), shrink = N::exp(constant<T>(0) - sigma);
  // log(2 / x) sinh(sigma) / sigma = sinh(sigma) / m; below 1, where that cancels, by the series, which is added to the
  // logarithm last so that little but the rounding of the sum is left.
  const T sigma2 = sigma * sigma;
  T tail = one;
  for (int k = 9; k > 1; --k) tail = multiply_add(tail * constant<T>(1.0 / (2 * k * (2 * k + 1))), sigma2, one);
  const T added = log_x * (sigma2 * constant<T>(1.0 / 6) * tail) + N::constant(log_two_over_x.lo);
  const i64 is_small = magnitude(N::value(sigma)) < set<f64>(1);
  const T safe = N::choose(is_small, one, m);
  const T first = N::choose(is_small, log_x + added, half * (grow - shrink) / safe);
  const T cosh = half * (grow + shrink);

  const T start = first + multiply_add(cosh, odd, first * even_tail);
  T f = multiply_add(start, square * horner(kReflection, square), start);
  T p = half * grow / low, q = half * shrink / high;
  const f64 quarter = x * x * set<f64>(0.25);
  // (x / 2) K_{m+1} or, for m > 0, (x / 2) K_{m-1}, to which m K_m is added: that has most of the sum and is exact.
  const i64 is_up = N::value(m) > f64{};
  T weight = one, k_sum = f, other_sum = N::choose(is_up, q, p);
  for (int k = 1; k <= 6; ++k) {
    const T order = constant<T>(k);
    f = (order * f + p + q) / (order * order - square);
    p = p / (order - m);
    q = q / (order + m);
    weight = weight * N::constant(quarter * set<f64>(1.0 / k));
    k_sum = multiply_add(weight, f, k_sum);
    other_sum = multiply_add(weight, N::choose(is_up, q, p) - order * f, other_sum);
  }
  return {k_sum, N::choose(is_up, multiply_add(m, k_sum, other_sum), other_sum)};
}

template <BesselFunction F, class T>
static OMNICONV_INLINE Result<f64> k_temme_in(f64 v, f64 x) {
  using N = Number<T>;
  const f64 magic = set<f64>(0x1p52), n = (v + magic) - magic;
  const T m = N::variable(v - n);
  const Pair<f64> log_x = log_half(x);
  Neighbours<T> g = temme(m, x, fast_two_sum(-log_x.hi, -log_x.lo));
  const T quarter = N::constant(x * x * set<f64>(0.25));
  for (int j = 1; j <= kLargestOrder; ++j) {
    const i64 more = n >= set<f64>(j);
    if (!any(more)) break;
    const T next = multiply_add(m + constant<T>(j), g.next, quarter * g.k);
    g = {N::choose(more, g.next, g.k), N::choose(more, next, g.next)};
  }
  const f64 k = N::value(g.k), next = N::value(g.next);
  if constexpr (F == BesselFunction::kv_ratio) {  // two divisions with one rounding; k x might be denormal
    const f64 first = (next + next) / k, ratio = first / x;
    const f64 first_low = -residue(first, k, -(next + next)) / k;
    const f64 low = (first_low - residue(ratio, x, -first)) / x;
    return {magnitude(low) < ratio ? ratio + low : ratio, f64{}};  // not where denormal x or infinite ratio spoils it
  }
  if constexpr (is_grad(F))
    return {g.k.dv / k, (v - (next + next) / k) / x};
  else {
    // log K = n log(2 / x) + log g_n.
    const Pair<f64> log_g = log_quotient({k, f64{}}, set<f64>(1)), t = two_product(-n, log_x.hi);
    const Pair<f64> sum = two_sum(t.hi, log_g.hi);
    const f64 low = sum.lo + (fma(-n, log_x.lo, t.lo) + log_g.lo);
    if constexpr (!is_scaled(F)) return {sum.hi + low, f64{}};
    const Pair<f64> more = two_sum(sum.hi, x);
    return {more.hi + (more.lo + low), f64{}};
  }
}

template <BesselFunction F>
static OMNICONV_INLINE Result<f64> k_temme(f64 v, f64 x) {
  if constexpr (is_grad(F))
    return k_temme_in<F, Dual<f64>>(v, x);
  else
    return k_temme_in<F, f64>(v, x);
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::bessel
