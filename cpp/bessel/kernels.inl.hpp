// bessel/kernels.inl.hpp -- which formula for which value; included once by each bessel_<isa>.cpp
//
// Values of a block are sorted by region, and every region runs on full vectors: the one with most values on the block
// as it stands (what it makes of the others is overwritten), the rest on gathered copies. A value therefore goes
// through the same instructions wherever it stands and whatever its neighbours are.
#pragma once

#include "bessel/functions.hpp"
#include "bessel/small_i.inl.hpp"
#include "bessel/small_k.inl.hpp"
#include "bessel/uniform.inl.hpp"

namespace omniconv::bessel {
namespace OMNICONV_ISA_NS {

// Regions by s = hypot(v, x). The number of terms after which the rest is below 2^-54 (2^-26), for the logarithms and
// for what is made of derivatives of the series, whose terms are k times larger.
struct Tier {
  int from, terms, derived_terms;
};
template <class V>
struct Tiers;
template <>
struct Tiers<f64> {
  static constexpr Tier tiers[] = {{500, 5, 6}, {100, 8, 10}, {40, 12, 16}, {24, 18, 24}};
};
template <>
struct Tiers<f32> {
  static constexpr Tier tiers[] = {{200, 2, 3}, {50, 4, 5}, {28, 4, 7}, {12, 8, 13}};
};
constexpr int kTiers = 4;

enum Region {
  kFirstTier = 0,
  kZeroLineRegion = kTiers,
  kExtremeRegion,
  kSmall,
  kTrapezoidRegion,
  kSpecial = kTrapezoidRegion + kTrapezoids,
  kRegions
};

constexpr bool has_zero_line(BesselFunction f) { return f == BesselFunction::log_iv || f == BesselFunction::log_kv; }

template <BesselFunction F, class V>
static OMNICONV_INLINE Bits<V> region_of(V v, V x) {
  const V s2 = fma(v, v, x * x);
  const auto below = [&](double s) { return s2 < set<V>(s * s); };
  const auto all = [](int r) { return Bits<V>{} + Word<V>(r); };
  Bits<V> region{};
  for (int i = 0; i + 1 < kTiers; ++i) region -= below(Tiers<V>::tiers[i].from);
  if constexpr (has_zero_line(F)) region = near_zero_line(v, x) ? all(kZeroLineRegion) : region;
  const auto small = below(Tiers<V>::tiers[kTiers - 1].from);
  const auto extreme = (max(v, x) > set<V>(Limits<V>::large)) | (x < set<V>(Limits<V>::small));
  region = extreme ? all(kExtremeRegion) : region;
  if (any(small)) {
    Bits<V> which = all(kSmall);
    if constexpr (is_k(F)) {
      const Bits<V> rule = all(kTrapezoidRegion) - (s2 >= set<V>(16)) - (s2 >= set<V>(64)) - (s2 >= set<V>(256));
      which = x <= set<V>(1) ? which : rule;
    }
    region = small ? which : region;
  }
  const V infinity = set<V>(__builtin_inf());
  const auto ordinary = (x > V{}) & (x < infinity) & (v >= V{}) & (v < infinity);
  return ordinary ? region : all(kSpecial);
}

// ---- limits and bad input ------------------------------------------------------------------------------------------

template <BesselFunction F, class T>
static Result<T> special(T v, T x) {
  using B = BesselFunction;
  const T nan = T(__builtin_nan("")), inf = T(__builtin_inf());
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

template <class T>
struct Buffers {
  alignas(64) T v[kBuffer], x[kBuffer], out[2][kBuffer];
};

// Not inlined: the constants of all regions together would be set up for each of them.
template <BesselFunction F, int REGION, class V>
static __attribute__((noinline)) void run_region(int n, const Scalar<V>* v, const Scalar<V>* x, Scalar<V>* first,
                                                 Scalar<V>* second) {
  constexpr int kTier = REGION < kTiers ? REGION : kTiers - 1;
  constexpr int kTerms = is_log(F) ? Tiers<V>::tiers[kTier].terms : Tiers<V>::tiers[kTier].derived_terms;
  constexpr Place kPlace = REGION == kZeroLineRegion  ? Place::zero_line
                           : REGION == kExtremeRegion ? Place::extreme
                                                      : Place::plain;
  for (int i = 0; i < n; i += Real<V>::width) {
    const Result<V> r = uniform<F, kTerms, kPlace>(load_real<V>(v + i), load_real<V>(x + i));
    store_real(first + i, r.first);
    if constexpr (is_grad(F)) store_real(second + i, r.second);
  }
}

template <BesselFunction F, bool TEMME_OR_SERIES>
static __attribute__((noinline)) void run_small(int n, const double* v, const double* x, double* first, double* second,
                                                const Trapezoid* rule) {
  using B = BesselFunction;
  for (int i = 0; i < n; i += kWidth64) {
    const f64 a = load_real<f64>(v + i), b = load_real<f64>(x + i);
    Result<f64> r{};
    if constexpr (is_k(F) && TEMME_OR_SERIES) r = k_temme<F>(a, b);
    if constexpr (is_k(F) && !TEMME_OR_SERIES) r = k_trapezoid<F>(a, b, *rule);
    if constexpr (F == B::log_iv) r.first = log_i_small<false>(a, b);
    if constexpr (F == B::log_ive) r.first = log_i_small<true>(a, b);
    if constexpr (F == B::iv_ratio) r.first = iv_ratio_small(a, b);
    if constexpr (F == B::iv_ratioc) r.first = iv_ratioc_small(a, b);
    if constexpr (F == B::iv_ratio_dx) r.first = iv_ratio_dx_small(a, b);
    if constexpr (F == B::log_iv_grad) {
      const Gradient g = log_i_grad_small(a, b);
      r = {g.dv, g.dx};
    }
    store_real(first + i, r.first);
    if constexpr (is_grad(F)) store_real(second + i, r.second);
  }
}

template <BesselFunction F, class V>
static void run(int region, int n, const Scalar<V>* v, const Scalar<V>* x, Scalar<V>* first, Scalar<V>* second) {
  switch (region) {
    case 0: return run_region<F, 0, V>(n, v, x, first, second);
    case 1: return run_region<F, 1, V>(n, v, x, first, second);
    case 2: return run_region<F, 2, V>(n, v, x, first, second);
    case 3: return run_region<F, 3, V>(n, v, x, first, second);
    case kZeroLineRegion:
      if constexpr (has_zero_line(F)) return run_region<F, kZeroLineRegion, V>(n, v, x, first, second);
      return;
    case kExtremeRegion: return run_region<F, kExtremeRegion, V>(n, v, x, first, second);
  }
  if constexpr (kIsDouble<V>) {
    if (region == kSmall)
      run_small<F, true>(n, v, x, first, second, nullptr);
    else if constexpr (is_k(F))
      run_small<F, false>(n, v, x, first, second, &trapezoid(region - kTrapezoidRegion));
  }
}

// ---- a block -------------------------------------------------------------------------------------------------------

// The values `at` of the block, all of one region; T is the type that the region is computed in.
template <BesselFunction F, class V, class T>
static void run_gathered(int region, int n, const uint16_t* at, const BlockArgs<T>& a) {
  using S = Scalar<V>;
  if (n < 1 || n > kBlock) __builtin_unreachable();
  Buffers<S> b;
  for (int i = 0; i < n; ++i) {
    b.v[i] = S(a.v[at[i]]);
    b.x[i] = S(a.x[at[i]]);
  }
  for (int i = n; i % Real<V>::width; ++i) {
    b.v[i] = b.v[n - 1];
    b.x[i] = b.x[n - 1];
  }
  run<F, V>(region, n, b.v, b.x, b.out[0], b.out[1]);
  for (int i = 0; i < n; ++i) {
    a.out[0][at[i]] = T(b.out[0][i]);
    if constexpr (is_grad(F)) a.out[1][at[i]] = T(b.out[1][i]);
  }
}

template <class V>
static int count_equal(const Word<V>* regions, int n, int region) {
  Bits<V> count{};
  for (int i = 0; i < n; i += Real<V>::width)
    count -= *reinterpret_cast<const Bits<V>*>(regions + i) == Word<V>(region);
  int sum = 0;
  for (int i = 0; i < Real<V>::width; ++i) sum += int(count[i]);
  return sum;
}

template <BesselFunction F, class V>
static void block(const BlockArgs<Scalar<V>>& a) {
  using T = Scalar<V>;
  constexpr int kLanes = Real<V>::width;
  if (a.n < 1 || a.n > kBlock) __builtin_unreachable();
  alignas(64) Word<V> regions[kBuffer];
  const int padded = (a.n + kLanes - 1) / kLanes * kLanes;
  for (int i = a.n; i < padded; ++i) {
    a.v[i] = a.v[a.n - 1];
    a.x[i] = a.x[a.n - 1];
  }
  for (int i = 0; i < padded; i += kLanes) {
    V v = load_real<V>(a.v + i);
    if constexpr (is_k(F) && is_log(F)) v = magnitude(v);
    store_real(a.v + i, v);
    *reinterpret_cast<Bits<V>*>(regions + i) = region_of<F>(v, load_real<V>(a.x + i));
  }

  int main = int(regions[0]), most = count_equal<V>(regions, padded, main);
  for (int candidate : {int(regions[padded / 2]), int(regions[padded - 1])}) {
    if (2 * most > padded) break;
    const int count = count_equal<V>(regions, padded, candidate);
    if (count > most) main = candidate, most = count;
  }
  if (main <= kExtremeRegion) {
    run<F, V>(main, padded, a.v, a.x, a.out[0], a.out[1]);
    if (most == padded) return;
  } else {
    main = -1;
  }

  uint16_t at[kRegions][kBlock];
  int counts[kRegions] = {};
  for (int i = 0; i < a.n; i += kLanes) {
    if (!any(*reinterpret_cast<const Bits<V>*>(regions + i) != Word<V>(main))) continue;
    for (int k = i; k < i + kLanes && k < a.n; ++k) {
      const int region = int(regions[k]);
      at[region][counts[region]] = uint16_t(k);
      ++counts[region];
    }
  }
  for (int region = 0; region < kSpecial; ++region) {
    if (region == main || counts[region] == 0) continue;
    if (region < kSmall)
      run_gathered<F, V>(region, counts[region], at[region], a);
    else
      run_gathered<F, f64>(region, counts[region], at[region], a);  // float32 as well: rare, and 24 digits would not do
  }
  for (int i = 0; i < counts[kSpecial]; ++i) {
    const int k = at[kSpecial][i];
    const Result<T> r = special<F>(a.v[k], a.x[k]);
    a.out[0][k] = r.first;
    if constexpr (is_grad(F)) a.out[1][k] = r.second;
  }
}

template <class V>
static void run_block(const BlockArgs<Scalar<V>>& a) {
  using B = BesselFunction;
  switch (a.function) {
    case B::log_iv: return block<B::log_iv, V>(a);
    case B::log_kv: return block<B::log_kv, V>(a);
    case B::log_ive: return block<B::log_ive, V>(a);
    case B::log_kve: return block<B::log_kve, V>(a);
    case B::iv_ratio: return block<B::iv_ratio, V>(a);
    case B::iv_ratioc: return block<B::iv_ratioc, V>(a);
    case B::kv_ratio: return block<B::kv_ratio, V>(a);
    case B::iv_ratio_dx: return block<B::iv_ratio_dx, V>(a);
    case B::log_iv_grad: return block<B::log_iv_grad, V>(a);
    case B::log_kv_grad: return block<B::log_kv_grad, V>(a);
  }
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::bessel
