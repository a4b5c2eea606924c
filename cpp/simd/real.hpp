// cpp/simd/real.hpp -- f64 vectors, and one set of names for f32 and f64, so that a text on V serves both.
//
// Also the error-free transformations: what a rounded sum, product or quotient left behind, as a second vector. They
// are exact where nothing overflows or underflows, with and without an fma in the instruction set.
#pragma once

#if defined(OMNICONV_ONE_LANE)
#include "simd/lane.hpp"
#else
#include "simd/vec.hpp"
#endif

#if defined(__AVX512F__) || defined(OMNICONV_VEC_AVX2) || defined(__aarch64__) || defined(OMNICONV_ONE_LANE)
#define OMNICONV_HAS_FMA 1
#else
#define OMNICONV_HAS_FMA 0
#endif

// Before a loop: how often its body is to be repeated.
#if defined(__CUDACC__)
#define OMNICONV_UNROLL(count) OMNICONV_PRAGMA(unroll count)
#else
#define OMNICONV_UNROLL(count) OMNICONV_PRAGMA(GCC unroll count)
#endif
#define OMNICONV_PRAGMA(text) _Pragma(#text)

// Of what is called once for many values: out of line, so that a unit is not all of it several times over.
#if defined(OMNICONV_ONE_LANE)
#define OMNICONV_OUT_OF_LINE OMNICONV_INLINE
#else
#define OMNICONV_OUT_OF_LINE __attribute__((noinline))
#endif

namespace omniconv {
namespace OMNICONV_ISA_NS {

#if !defined(OMNICONV_ONE_LANE)

constexpr int kWidth64 = kWidth / 2;
typedef double f64 __attribute__((vector_size(8 * kWidth64)));
typedef int64_t i64 __attribute__((vector_size(8 * kWidth64)));  // also the type of masks
typedef double f64_unaligned __attribute__((vector_size(8 * kWidth64), aligned(8), may_alias));

template <class V>
struct Real;
template <>
struct Real<f32> {
  using scalar = float;
  using bits = i32;
  using word = int32_t;
  using unsigned_word = uint32_t;
  typedef uint32_t unsigned_bits __attribute__((vector_size(4 * kWidth)));
  static constexpr int width = kWidth, mantissa = 23, bias = 127;
};
template <>
struct Real<f64> {
  using scalar = double;
  using bits = i64;
  using word = int64_t;
  using unsigned_word = uint64_t;
  typedef uint64_t unsigned_bits __attribute__((vector_size(8 * kWidth64)));
  static constexpr int width = kWidth64, mantissa = 52, bias = 1023;
};
template <class V>
using Scalar = typename Real<V>::scalar;
template <class V>
static OMNICONV_INLINE V set(double x) {
  return Scalar<V>(x) - V{};  // keeps -0 and NaN
}
template <class V>
static OMNICONV_INLINE V load_real(const Scalar<V>* p) {
  typedef Scalar<V> unaligned __attribute__((vector_size(sizeof(V)), aligned(sizeof(Scalar<V>)), may_alias));
  return *reinterpret_cast<const unaligned*>(p);
}
template <class V>
static OMNICONV_INLINE void store_real(Scalar<V>* p, V v) {
  typedef Scalar<V> unaligned __attribute__((vector_size(sizeof(V)), aligned(sizeof(Scalar<V>)), may_alias));
  *reinterpret_cast<unaligned*>(p) = v;
}

// The same bits as another type.
template <class To, class From>
static OMNICONV_INLINE To cast(From from) {
  return reinterpret_cast<To>(from);
}

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

static OMNICONV_INLINE f64 sqrt(f64 v) {
#if defined(__AVX512F__)
  return _mm512_maskz_sqrt_pd(0xff, v);
#elif defined(OMNICONV_VEC_AVX2)
  return _mm256_sqrt_pd(v);
#elif defined(__x86_64__)
  return _mm_sqrt_pd(v);
#elif defined(__aarch64__)
  return vsqrtq_f64(v);
#else
  for (int i = 0; i < kWidth64; ++i) v[i] = __builtin_sqrt(v[i]);
  return v;
#endif
}
static OMNICONV_INLINE f32 sqrt(f32 v) {
#if defined(__AVX512F__)
  return _mm512_maskz_sqrt_ps(0xffff, v);
#elif defined(OMNICONV_VEC_AVX2)
  return _mm256_sqrt_ps(v);
#elif defined(__x86_64__)
  return _mm_sqrt_ps(v);
#elif defined(__aarch64__)
  return vsqrtq_f32(v);
#else
  for (int i = 0; i < kWidth; ++i) v[i] = __builtin_sqrtf(v[i]);
  return v;
#endif
}

// A NaN in either operand comes out as the second operand, as in min and max of f32.
static OMNICONV_INLINE f64 min(f64 a, f64 b) {
#if defined(__AVX512F__)
  return _mm512_maskz_min_pd(0xff, a, b);
#elif defined(OMNICONV_VEC_AVX2)
  return _mm256_min_pd(a, b);
#elif defined(__x86_64__)
  return _mm_min_pd(a, b);
#else
  return a < b ? a : b;
#endif
}
static OMNICONV_INLINE f64 max(f64 a, f64 b) {
#if defined(__AVX512F__)
  return _mm512_maskz_max_pd(0xff, a, b);
#elif defined(OMNICONV_VEC_AVX2)
  return _mm256_max_pd(a, b);
#elif defined(__x86_64__)
  return _mm_max_pd(a, b);
#else
  return a > b ? a : b;
#endif
}

// Whether any lane of a mask is set.
template <class M>
static OMNICONV_INLINE bool any(M mask) {
#if defined(OMNICONV_VEC_AVX2)
  return !_mm256_testz_si256(reinterpret_cast<__m256i>(mask), reinterpret_cast<__m256i>(mask));
#else
  const i64 words = reinterpret_cast<i64>(mask);
  int64_t set = 0;
  for (int i = 0; i < kWidth64; ++i) set |= words[i];
  return set != 0;
#endif
}

#endif  // OMNICONV_ONE_LANE

template <class V>
using Bits = typename Real<V>::bits;
template <class V>
using UnsignedBits = typename Real<V>::unsigned_bits;
template <class V>
using Word = typename Real<V>::word;

template <class V>
static OMNICONV_INLINE Bits<V> bits_of(V v) {
  return cast<Bits<V>>(v);
}
template <class V>
static OMNICONV_INLINE V from_bits(Bits<V> v) {
  return cast<V>(v);
}
template <class V>
static OMNICONV_INLINE V magnitude(V v) {
  using W = typename Real<V>::unsigned_word;
  return from_bits<V>(bits_of(v) & Word<V>(W(-1) >> 1));
}

// ---- pairs: an unevaluated sum of two vectors, |lo| <= ulp(hi) / 2 when normalised ---------------------------------

template <class V>
struct Pair {
  V hi, lo;
};

template <class V>
static OMNICONV_INLINE Pair<V> two_sum(V a, V b) {
  const V sum = a + b, shifted = sum - a;
  return {sum, (a - (sum - shifted)) + (b - shifted)};
}
// For |a| >= |b|, or a = 0.
template <class V>
static OMNICONV_INLINE Pair<V> fast_two_sum(V a, V b) {
  const V sum = a + b;
  return {sum, b - (sum - a)};
}

#if !OMNICONV_HAS_FMA
// Veltkamp's split: hi has half the bits, and products of halves are exact (Dekker 1971).
template <class V>
static OMNICONV_INLINE Pair<V> halves(V a) {
  constexpr double kSplitter = sizeof(Scalar<V>) == 8 ? 0x1.0000002p27 : 0x1.002p12;
  const V scaled = a * set<V>(kSplitter), hi = scaled - (scaled - a);
  return {hi, a - hi};
}
#endif

// a * b + c with only the last rounding, given that c is close to -a * b: the residue of a product.
template <class V>
static OMNICONV_INLINE V residue(V a, V b, V c) {
#if !OMNICONV_HAS_FMA
  const Pair<V> x = halves(a), y = halves(b);
  return (((x.hi * y.hi + c) + x.hi * y.lo) + x.lo * y.hi) + x.lo * y.lo;
#else
  return fma(a, b, c);
#endif
}
template <class V>
static OMNICONV_INLINE Pair<V> two_product(V a, V b) {
  const V product = a * b;
  return {product, residue(a, b, -product)};
}

// sum of c[FROM + i] t^i, i = 0 .. N - 1, by Estrin's scheme: neighbours in pairs, pairs in fours, ... A chain of log2
// N steps instead of N, which is what the time depends on where little else can run meanwhile.
template <int FROM, int N, class V, int ALL>
static OMNICONV_INLINE V estrin(const double (&c)[ALL], const V (&powers)[6]) {
  if constexpr (N == 1) {
    return set<V>(c[FROM]);
  } else {
    constexpr int kHalf = N > 32 ? 32 : N > 16 ? 16 : N > 8 ? 8 : N > 4 ? 4 : N > 2 ? 2 : 1;
    constexpr int kPower = kHalf == 32 ? 5 : kHalf == 16 ? 4 : kHalf == 8 ? 3 : kHalf == 4 ? 2 : kHalf == 2 ? 1 : 0;
    return fma(estrin<FROM + kHalf, N - kHalf>(c, powers), powers[kPower], estrin<FROM, kHalf>(c, powers));
  }
}
template <class V, int N>
static OMNICONV_INLINE V polynomial(const double (&c)[N], V t) {
  V powers[6] = {t};
  OMNICONV_UNROLL(6)
  for (int i = 1; i < 6; ++i) powers[i] = powers[i - 1] * powers[i - 1];  // those not needed are not computed
  return estrin<0, N>(c, powers);
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv
