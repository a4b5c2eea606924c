// dfp16/lines.inl.hpp -- depthwise: sums in doubles, which hold integers exactly up to 2^53
//
// Computes, of one channel, a line of outputs, out[i] = sum_k w[k] x[offset(k) + i step], or the inner product of two
// runs of int16 (gradient of the weight). A product has 30 bits, so 2^23 of them are exact in any order. Lanes are
// neighbours in x: a column has one channel, and panels of columns would be empty but for one lane. Registers: four
// vectors of sums, so that additions do not wait for one another; a term is two conversions and a multiplication for
// four lanes of AVX2. Rejected: int32 sums of pairs, which must be split into halves after every multiplication.
#pragma once

#include "dfp16/kernels.hpp"
#include "simd/real.hpp"
#include "simd/vec.hpp"

namespace omniconv::dfp16 {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

// kWidth64 neighbours as doubles: in two instructions, where converting a vector by its type takes seven.
static OMNICONV_INLINE f64 load_doubles(const int16_t* p) {
#if defined(__AVX512F__)
  return (f64)_mm512_maskz_cvtepi32_pd(0xff,
                                       _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(OMNICONV_VEC_AVX2)
  return (f64)_mm256_cvtepi32_pd(_mm_cvtepi16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
  f64 v{};
  for (int i = 0; i < kWidth64; ++i) v[i] = p[i];
  return v;
#endif
}
// The same `step` apart, of which there are n.
static OMNICONV_INLINE f64 gather_doubles(const int16_t* p, int64_t step, int64_t n) {
  int16_t v[kWidth64] = {};
  for (int64_t i = 0; i < kWidth64 && i < n; ++i) v[i] = p[i * step];
  return load_doubles(v);
}

template <bool STRAIGHT>
static OMNICONV_INLINE void run_line(const LineArgs& a) {
  for (int64_t o = 0; o < a.count; o += 2 * kWidth) {
    f64 sums[4] = {};
    for (int64_t r = 0; r < a.runs; ++r)
      for (int64_t j = 0; j < a.run; ++j) {
        const f64 w = set<f64>(double(a.weights[r * a.weights_run + j]));
        const int16_t* from = a.source + a.offsets[r] + j + o * a.step;
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) {
          const int64_t at = v * kWidth64;
          const f64 x =
              STRAIGHT ? load_doubles(from + at) : gather_doubles(from + at * a.step, a.step, a.count - o - at);
          sums[v] = fma(w, x, sums[v]);
        }
      }
    for (int v = 0; v < 4; ++v) store_real<f64>(a.sums + o + v * kWidth64, sums[v]);
  }
}

static void line(const LineArgs& a) { a.step == 1 ? run_line<true>(a) : run_line<false>(a); }

// Of at most 2^23 terms.
static int64_t dot(const int16_t* a, const int16_t* b, int64_t count) {
  f64 sums[4] = {};
  int64_t i = 0;
  for (; i + 2 * kWidth <= count; i += 2 * kWidth)
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v)
      sums[v] = fma(load_doubles(a + i + v * kWidth64), load_doubles(b + i + v * kWidth64), sums[v]);
  const f64 all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double sum = 0;
  for (int l = 0; l < kWidth64; ++l) sum += all[l];
  int64_t result = int64_t(sum);
  for (; i < count; ++i) result += int64_t(a[i]) * b[i];
  return result;
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::dfp16
