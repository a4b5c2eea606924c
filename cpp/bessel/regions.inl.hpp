// bessel/regions.inl.hpp -- which formula for which value, and the loop over the values of one region
#pragma once

#include "bessel/functions.hpp"
#include "bessel/gradients.inl.hpp"
#include "bessel/logs.inl.hpp"
#include "bessel/small_i.inl.hpp"
#include "bessel/small_k.inl.hpp"
#include "bessel/uniform.inl.hpp"

namespace omniconv::bessel {
namespace OMNICONV_ISA_NS {

// Regions by s = hypot(v, x), with the number of terms after which the rest is below 2^-54 (2^-26); more for what is
// made of derivatives of the series, whose terms are k times larger. Fewer do for the plain logarithms far from their
// zero line: there they are above 0.02 s, and it is their relative error that counts.
struct Tier {
  int from, terms, scaled_terms, gradient_terms, ratio_terms;
};
template <class V>
struct Tiers;
template <>
struct Tiers<f64> {
  static constexpr Tier tiers[] = {{1700, 3, 4, 4, 5}, {300, 5, 6, 6, 7}, {40, 12, 12, 13, 16}, {24, 18, 18, 24, 28}};
};
template <>
struct Tiers<f32> {
  static constexpr Tier tiers[] = {{600, 1, 2, 2, 2}, {300, 2, 2, 2, 3}, {28, 4, 4, 5, 7}, {12, 8, 8, 11, 13}};
};
constexpr int kTiers = 4;
constexpr int kFarTiers = 2;  // of which so many are far out

enum Region {
  kZeroLineFar = kTiers,
  kZeroLineNear,
  kExtremeRegion,
  kSmall,
  kTrapezoidRegion,
  kSpecial = kTrapezoidRegion + kTrapezoids,
  kRegions
};

constexpr bool has_zero_line(BesselFunction f) { return f == BesselFunction::log_iv || f == BesselFunction::log_kv; }

// The tier of s^2, by comparing it with all that begin below.
template <class V, int TIER = 0>
static OMNICONV_INLINE Bits<V> tier_of(V s2) {
  if constexpr (TIER + 1 < kTiers) {
    constexpr double kFrom = Tiers<V>::tiers[TIER].from;
    return tier_of<V, TIER + 1>(s2) - (s2 < set<V>(kFrom * kFrom));
  } else {
    return Bits<V>{};
  }
}

template <BesselFunction F, class V>
static OMNICONV_INLINE Bits<V> region_of(V v, V x) {
  using L = Limits<V>;
  const auto all = [](int r) { return Bits<V>{} + Word<V>(r); };
  const V s2 = fma(v, v, x * x);
  const auto below = [&](double s) { return s2 < set<V>(s * s); };
  Bits<V> region = tier_of(s2);
  if constexpr (has_zero_line(F)) region = near_zero_line(v, x) ? all(kZeroLineFar) - (region >= kFarTiers) : region;
  constexpr double kFrom = Tiers<V>::tiers[kTiers - 1].from;
  const auto common =
      (s2 >= set<V>(kFrom * kFrom)) & (s2 < set<V>(L::large * L::large)) & (x > set<V>(L::small)) & (v >= V{});
  if (!any(~common)) return region;

  const auto extreme = (max(v, x) > set<V>(L::large)) | (x < set<V>(L::small));
  Bits<V> rare = all(kExtremeRegion), small = all(kSmall);
  if constexpr (is_k(F)) {
    const Bits<V> rule = all(kTrapezoidRegion) - (s2 >= set<V>(16)) - (s2 >= set<V>(64)) - (s2 >= set<V>(256));
    small = x <= set<V>(0.1) ? small : rule;
  }
  rare = below(kFrom) ? small : (s2 >= set<V>(L::large * L::large)) | extreme ? rare : region;
  const V infinity = set<V>(__builtin_inf());
  const auto ordinary = (x > V{}) & (x < infinity) & (v >= V{}) & (v < infinity);
  return common ? region : ordinary ? rare : all(kSpecial);
}

// ---- limits and bad input ------------------------------------------------------------------------------------------

template <BesselFunction F, class T>
static OMNICONV_INLINE Result<T> special(T v, T x) {
  using B = BesselFunction;
  const T nan = T(__builtin_nan("")), inf = T(__builtin_inf());
  if (is_k(F) && is_log(F) && v < 0) v = -v;  // even in v
  if (!(v >= 0) || !(x >= 0) || (v == inf && x == inf)) return {nan, nan};
  const bool zero = x == 0, far = x == inf;  // else v is infinite and x is positive and finite
  switch (F) {
    case B::log_iv: return {zero ? (v == 0 ? T(0) : -inf) : far ? inf : -inf, 0};
    case B::log_ive: return {zero && v == 0 ? T(0) : -inf, 0};
    case B::log_kv: return {far ? -inf : inf, 0};
    case B::log_kve: return {far ? -inf : inf, 0};
    case B::iv_ratio: return {far ? T(1) : T(0), 0};
    case B::iv_ratioc: return {far ? T(0) : T(1), 0};
    case B::kv_ratio: return {far ? T(1) : inf, 0};
    case B::iv_ratio_dx: return {zero ? T(0.5) / (v + 1) : T(0), 0};
    case B::log_iv_grad: return {far ? T(0) : -inf, zero ? (v == 0 ? T(0) : inf) : far ? T(1) : inf};
    case B::log_kv_grad: return {far || v == 0 ? T(0) : inf, far ? T(-1) : -inf};
  }
  return {nan, nan};
}

// ---- one region ----------------------------------------------------------------------------------------------------

template <BesselFunction F, int REGION, class V>
static OMNICONV_OUT_OF_LINE void run_region(int n, const Scalar<V>* v, const Scalar<V>* x, Scalar<V>* first,
                                            Scalar<V>* second) {
  constexpr bool kOnLine = REGION == kZeroLineFar || REGION == kZeroLineNear;
  constexpr int kTier = REGION < kTiers ? REGION : REGION == kZeroLineFar ? kFarTiers - 1 : kTiers - 1;
  constexpr Tier kRow = Tiers<V>::tiers[kTier];
  constexpr int kTerms = is_grad(F)                ? kRow.gradient_terms
                         : !is_log(F)              ? kRow.ratio_terms
                         : is_scaled(F) || kOnLine ? kRow.scaled_terms
                                                   : kRow.terms;
  constexpr Place kPlace = kOnLine                    ? Place::zero_line
                           : REGION == kExtremeRegion ? Place::extreme
                           : REGION < kFarTiers       ? Place::far
                                                      : Place::plain;
  constexpr int kWide = Real<V>::width;
  if constexpr (is_log(F) || is_grad(F)) {
    const int vectors = (n + kWide - 1) / kWide;
    for (int i = 0; i < vectors; i += kTile) {
      const int count = vectors - i < kTile ? vectors - i : kTile, at = i * kWide;
      if constexpr (is_grad(F))
        gradient_uniform<F, kTerms, kPlace, V>(count, v + at, x + at, first + at, second + at);
      else if constexpr (kPlace == Place::far && !is_scaled(F))
        log_far<F, kTerms, V>(count, v + at, x + at, first + at);
      else
        log_uniform<F, kTerms, kPlace, V>(count, v + at, x + at, first + at);
    }
  } else {
    for (int i = 0; i < n; i += kWide)
      store_real(first + i, ratio_uniform<F, kTerms, kPlace>(load_real<V>(v + i), load_real<V>(x + i)));
  }
}

template <BesselFunction F, bool TEMME_OR_SERIES>
static OMNICONV_OUT_OF_LINE void run_small(int n, const double* v, const double* x, double* first, double* second,
                                           const Trapezoid* rule) {
  using B = BesselFunction;
  for (int i = 0; i < n; i += Real<f64>::width) {
    f64 a = load_real<f64>(v + i);
    const f64 b = load_real<f64>(x + i);
    if constexpr (is_k(F) && is_log(F)) a = magnitude(a);
    Result<f64> r{};
    if constexpr (is_k(F) && TEMME_OR_SERIES) r = k_temme<F>(a, b);
    if constexpr (is_k(F) && !TEMME_OR_SERIES) r = k_trapezoid<F>(a, b, *rule);
    if constexpr (F == B::log_iv) r.first = log_i_small<false>(a, b);
    if constexpr (F == B::log_ive) r.first = log_i_small<true>(a, b);
    if constexpr (F == B::iv_ratio) r.first = iv_ratio_small(a, b);
    if constexpr (F == B::iv_ratioc) r.first = iv_ratioc_small(a, b);
    if constexpr (F == B::iv_ratio_dx) r.first = iv_ratio_dx_small(a, b);
    if constexpr (F == B::log_iv_grad) r = log_i_grad_small(a, b);
    store_real(first + i, r.first);
    if constexpr (is_grad(F)) store_real(second + i, r.second);
  }
}

// The tier whose formula serves each. At the scalar level, which is there to run anywhere, the longest series serves
// all: a third of the code. On a GPU, where a warp runs the formulas of all its values one after the other, three.
#if defined(OMNICONV_ONE_LANE)
constexpr int kServedBy[kTiers] = {1, 1, 2, 3};
#elif defined(__AVX2__) || defined(__aarch64__)
constexpr int kServedBy[kTiers] = {0, 1, 2, 3};
#else
constexpr int kServedBy[kTiers] = {3, 3, 3, 3};
#endif
constexpr int kServesFarLine = kServedBy[0] == 0 ? kZeroLineFar : kZeroLineNear;

// `rules`: trapezoids().
template <BesselFunction F, class V>
static OMNICONV_INLINE void run(int region, int n, const Scalar<V>* v, const Scalar<V>* x, Scalar<V>* first,
                                Scalar<V>* second, const Trapezoid* rules) {
  switch (region) {
    case 0: return run_region<F, kServedBy[0], V>(n, v, x, first, second);
    case 1: return run_region<F, kServedBy[1], V>(n, v, x, first, second);
    case 2: return run_region<F, kServedBy[2], V>(n, v, x, first, second);
    case 3: return run_region<F, kServedBy[3], V>(n, v, x, first, second);
    case kZeroLineFar:
      if constexpr (has_zero_line(F)) return run_region<F, kServesFarLine, V>(n, v, x, first, second);
      return;
    case kZeroLineNear:
      if constexpr (has_zero_line(F)) return run_region<F, kZeroLineNear, V>(n, v, x, first, second);
      return;
    case kExtremeRegion: return run_region<F, kExtremeRegion, V>(n, v, x, first, second);
  }
  if constexpr (kIsDouble<V>) {
    if (region == kSmall) return run_small<F, true>(n, v, x, first, second, nullptr);
    if constexpr (is_k(F))
      if (region >= kTrapezoidRegion)
        return run_small<F, false>(n, v, x, first, second, rules + (region - kTrapezoidRegion));
  }
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::bessel
