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

// kWidth neighbours as two vectors of doubles.
struct Doubles {
  f64 half[2];
};
static OMNICONV_INLINE Doubles doubles_of(i32 v) {
  typedef int32_t i32_half __attribute__((vector_size(2 * kWidth)));
  union {
    i32 whole;
    i32_half half[2];
  } from = {v};
  return {{__builtin_convertvector(from.half[0], f64), __builtin_convertvector(from.half[1], f64)}};
}
static OMNICONV_INLINE Doubles load_doubles(const int16_t* p) {
  typedef int16_t i16_at __attribute__((vector_size(2 * kWidth), aligned(2), may_alias));
  return doubles_of(__builtin_convertvector(*reinterpret_cast<const i16_at*>(p), i32));
}
static OMNICONV_INLINE Doubles gather_doubles(const int16_t* p, int64_t step, int64_t n) {
  i32 v{};
  for (int64_t i = 0; i < (n < kWidth ? n : kWidth); ++i) v[i] = p[i * step];
  return doubles_of(v);
}

template <bool STRAIGHT>
static OMNICONV_INLINE void run_line(const LineArgs& a) {
  for (int64_t o = 0; o < a.count; o += 2 * kWidth) {
    f64 sums[4] = {};
    for (int64_t r = 0; r < a.runs; ++r)
      for (int64_t j = 0; j < a.run; ++j) {
        const f64 w = set<f64>(double(a.weights[r * a.weights_run + j]));
        const int16_t* from = a.source + a.offsets[r] + j + o * a.step;
#pragma GCC unroll 2
        for (int part = 0; part < 2; ++part) {
          const Doubles x = STRAIGHT
                                ? load_doubles(from + part * kWidth)
                                : gather_doubles(from + part * kWidth * a.step, a.step, a.count - o - part * kWidth);
          sums[2 * part] += w * x.half[0];
          sums[2 * part + 1] += w * x.half[1];
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
#pragma GCC unroll 2
    for (int part = 0; part < 2; ++part) {
      const Doubles x = load_doubles(a + i + part * kWidth), y = load_doubles(b + i + part * kWidth);
      sums[2 * part] += x.half[0] * y.half[0];
      sums[2 * part + 1] += x.half[1] * y.half[1];
    }
  const f64 all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double sum = 0;
  for (int l = 0; l < kWidth64; ++l) sum += all[l];
  int64_t result = int64_t(sum);
  for (; i < count; ++i) result += int64_t(a[i]) * b[i];
  return result;
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::dfp16
