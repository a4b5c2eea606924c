// bessel/small_i.inl.hpp -- I and its ratio for hypot(v, x) < 24, in float64
//
// log I_v(x) = v log(x / 2) + log(S / Gamma(v + 1)) with the power series S = sum (x/2)^{2k} / (k! (v + 1)_k) (DLMF
// 10.25.2), all of whose terms are positive. Gamma(v + 1) = v (v - 1) ... (f + 1) Gamma(1 + f), f = v - floor v; every
// v - i is exact. The product by v log(x / 2) and both logarithms are pairs, so that where they cancel, near I = 1,
// only the relative errors of S and Gamma count, 1 to 2 eps.
//
// The ratio r_v = x rho_v has rho_{v-1} = 1 / (2 v + x^2 rho_v) (DLMF 10.33.1), which shrinks an error of rho_v by r^2
// <= 1; in pairs, because 1 - r and dr/dx lose up to 50 times the error of r.
#pragma once

#include "bessel/dual.inl.hpp"
#include "bessel/functions.hpp"
#include "bessel/tables.hpp"

namespace omniconv::bessel {
namespace OMNICONV_ISA_NS {

// Terms of S until the rest is below 2^-57 of it: (x/2)^2 <= 144 needs 38.
constexpr int kSeriesTerms = 40;
constexpr int kLargestOrder = 24;

struct Series {
  f64 over, under;  // S = over / under
  f64 fall, rise;   // -dS/dv = fall / under, dS/d(x/2)^2 = rise / under
};

// S by Horner's scheme, S_k = 1 + quarter / (k (k + v)) S_{k+1}, multiplied by the k (k + v) so far instead of divided
// by them; they stay below 1e110. Its derivatives the same way: all terms of each have one sign.
template <bool DERIVATIVE>
static OMNICONV_INLINE Series power_series(f64 v, f64 quarter) {
  Series s = {set<f64>(1), set<f64>(1), f64{}, f64{}};
  for (int k = kSeriesTerms; k > 0; --k) {
    const f64 order = v + set<f64>(k);
    s.under *= set<f64>(k) * order;
    if constexpr (DERIVATIVE) {
      s.fall = quarter * (s.fall + s.over / order);
      s.rise = fma(quarter, s.rise, s.over);
    }
    s.over = fma(quarter, s.over, s.under);
  }
  return s;
}

static OMNICONV_INLINE f64 floor_small(f64 v) {  // of 0 <= v < 2^51
  const f64 magic = set<f64>(0x1p52), rounded = (v + magic) - magic;
  return rounded > v ? rounded - set<f64>(1) : rounded;
}

// 1 / Gamma(1 + f) for 0 <= f <= 1, exactly 1 at f = 0.
template <class T>
static OMNICONV_INLINE T reciprocal_gamma(T f) {
  return multiply_add(f, horner(kReciprocalGamma, f), constant<T>(1));
}

// v (v - 1) ... down to the last factor above 1 or so: floor v of them. `low`: what the roundings of the value left.
template <class T>
static OMNICONV_INLINE T falling_product(T v, f64 count, f64* low) {
  T product = constant<T>(1);
  *low = f64{};
  for (int i = 0; i < kLargestOrder; ++i) {
    const i64 more = count > set<f64>(i);
    if (!any(more)) break;
    const T factor = Number<T>::choose(more, v - constant<T>(i), constant<T>(1)), next = product * factor;
    *low = fma(*low, Number<T>::value(factor),
               residue(Number<T>::value(product), Number<T>::value(factor), -Number<T>::value(next)));
    product = next;
  }
  return product;
}

// log(x / 2) for any positive x, denormal included.
static OMNICONV_INLINE Pair<f64> log_half(f64 x) {
  const i64 tiny = x < set<f64>(0x1p-500);
  const f64 own = x * (tiny ? set<f64>(0x1p600) : set<f64>(1));
  return log_quotient({own, f64{}}, set<f64>(2), tiny ? set<f64>(-600) : f64{});
}

template <bool SCALED>
static OMNICONV_INLINE f64 log_i_small(f64 v, f64 x) {
  const f64 n = floor_small(v), half = x * set<f64>(0.5);
  f64 product_low;
  const f64 product = falling_product(v, n, &product_low);
  const Series s = power_series<false>(v, half * half);
  const Pair<f64> over = two_product(s.over, reciprocal_gamma(v - n)), under = two_product(s.under, product);
  const f64 under_low = fma(s.under, product_low, under.lo);
  const Pair<f64> b = log_quotient(over, under.hi);
  const Pair<f64> a = log_half(x), t = two_product(v, a.hi);
  const Pair<f64> sum = two_sum(t.hi, b.hi);
  f64 low = sum.lo + (fma(v, a.lo, t.lo) + (b.lo - under_low / under.hi));
  if constexpr (!SCALED) return sum.hi + low;
  const Pair<f64> less = two_sum(sum.hi, -x);
  return less.hi + (less.lo + low);
}

// rho_v = I_{v+1}(x) / (x I_v(x)). The start, 40 orders up, is the middle of Amos' bounds (1974, eq. 9 and 11), 1e-4
// off at worst; the product of the r^2 on the way down is below 2^-47 at x = 24, v = 0 and smaller elsewhere.
static OMNICONV_INLINE Pair<f64> ratio_small(f64 v, f64 x) {
  constexpr int kSteps = 40;
  const Pair<f64> square = two_product(x, x);
  const f64 top = v + set<f64>(kSteps + 1);
  const f64 upper = sqrt(fma(top, top, square.hi));
  Pair<f64> rho = {set<f64>(1) / (top - set<f64>(0.5) + upper), f64{}};
  for (int j = kSteps; j > 0; --j) {
    const Pair<f64> order = two_sum(v, set<f64>(j)), term = two_product(square.hi, rho.hi);
    const Pair<f64> sum = two_sum(order.hi + order.hi, term.hi);
    const f64 low = sum.lo + ((order.lo + order.lo) + fma(square.hi, rho.lo, fma(square.lo, rho.hi, term.lo)));
    const f64 inverse = set<f64>(1) / sum.hi;
    rho = {inverse, -inverse * (residue(inverse, sum.hi, set<f64>(-1)) + inverse * low)};
  }
  return rho;
}

static OMNICONV_INLINE f64 iv_ratio_small(f64 v, f64 x) {
  const Pair<f64> rho = ratio_small(v, x);
  return fma(x, rho.hi, x * rho.lo);
}

static OMNICONV_INLINE f64 iv_ratioc_small(f64 v, f64 x) {
  const Pair<f64> rho = ratio_small(v, x), r = two_product(x, rho.hi), c = two_sum(set<f64>(1), -r.hi);
  return c.hi + (c.lo - fma(x, rho.lo, r.lo));
}

// dr/dx = 1 - r^2 - (2 v + 1) r / x (DLMF 10.29.2).
static OMNICONV_INLINE f64 iv_ratio_dx_small(f64 v, f64 x) {
  const Pair<f64> rho = ratio_small(v, x), r = two_product(x, rho.hi), square = two_product(r.hi, r.hi);
  const f64 r_low = fma(x, rho.lo, r.lo), square_low = fma(r.hi + r.hi, r_low, square.lo);
  const Pair<f64> order = two_sum(v + v, set<f64>(1)), term = two_product(order.hi, rho.hi);
  const f64 term_low = fma(order.hi, rho.lo, fma(order.lo, rho.hi, term.lo));
  const Pair<f64> a = two_sum(set<f64>(1), -square.hi), b = two_sum(a.hi, -term.hi);
  return b.hi + ((a.lo + b.lo) - (square_low + term_low));
}

// d/dx log I = v / x + (x / 2) dS / S; d/dv = log(x / 2) + d/dv log(S / Gamma(v + 1)).
static OMNICONV_INLINE Result<f64> log_i_grad_small(f64 v, f64 x) {
  using T = Dual<f64>;
  const f64 n = floor_small(v), half = x * set<f64>(0.5);
  const T order = Number<T>::variable(v);
  f64 ignored;
  const T product = falling_product(order, n, &ignored);
  const Series s = power_series<true>(v, half * half);
  const T gamma = reciprocal_gamma(T{v - n, set<f64>(1)});
  const Pair<f64> a = log_half(x);
  return {(a.hi + a.lo) + ((gamma.dv / gamma.value - product.dv / product.value) - s.fall / s.over),
          v / x + x * (set<f64>(0.5) * (s.rise / s.over))};
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::bessel
