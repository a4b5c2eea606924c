// bessel/elementary.inl.hpp -- logarithm of a quotient to more than working precision, and exp, on f32 and f64 vectors
#pragma once

#include "bessel/tables.hpp"
#include "simd/real.hpp"

namespace omniconv::bessel {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

template <class V>
constexpr bool kIsDouble = sizeof(Scalar<V>) == 8;

// The logarithm of n / x, begun: n / x = 2^exponent (sum + d) / (sum - d) with |d| <= sum / 5.
//
// The exponent is the rounded difference of the binary logarithms, each read off the bits as exponent + fraction; that
// leaves n / (2^exponent x) in [2/3, 3/2], so that d = n - 2^exponent x is exact.
template <class V>
struct Quotient {
  V d, d_low, sum, sum_low;
  V inverse;  // 1 / sum
  V exponent;
};

// n.hi and x normal and positive, their quotient within 2^+-1000 (float32: 2^+-120). The inverse is left to the caller,
// who may have others to take.
template <class V>
static OMNICONV_INLINE void begin_log(Pair<V> n, V x, Quotient<V>& out) {
  // Unsigned throughout: sums may wrap on the way.
  using W = typename Real<V>::unsigned_word;
  using U = UnsignedBits<V>;
  constexpr int kMantissa = Real<V>::mantissa;
  constexpr W kOffset = Real<V>::bias + 1;  // keeps the difference positive for the shift
  const U of_n = cast<U>(n.hi), of_x = cast<U>(x);
  const U biased = (of_n - of_x + ((kOffset << kMantissa) + (W(1) << (kMantissa - 1)))) >> kMantissa;
  // 2^mantissa with an integer in its low bits is 2^mantissa + that integer.
  constexpr W kMagicBits = W(Real<V>::bias + kMantissa) << kMantissa;
  constexpr double kMagic = double(uint64_t(1) << kMantissa) + double(kOffset);
  const V scaled = cast<V>(of_x + (biased << kMantissa) - (kOffset << kMantissa));
  const V d = n.hi - scaled, twice = scaled + scaled, sum = twice + d;
  out.d = d;
  out.exponent = cast<V>(biased | kMagicBits) - set<V>(kMagic);
  out.d_low = n.lo;
  out.sum = sum;
  out.sum_low = (d - (sum - twice)) + n.lo;
}

// (atanh(q) / q - 1) / q^2 as a function of q^2.
template <class V>
static OMNICONV_INLINE V atanh_tail(V square) {
  if constexpr (kIsDouble<V>)
    return polynomial(kAtanh64, square);
  else
    return polynomial(kAtanh32, square);
}

template <class V>
constexpr double kLog2High = kIsDouble<V> ? kLog2In64[0] : kLog2In32[0];
template <class V>
constexpr double kLog2Low = kIsDouble<V> ? kLog2In64[1] : kLog2In32[1];

// exponent log 2 + 2 atanh(d / sum), to 2^-59 (float32: 2^-30) of its size: the residue of the division is the low
// part.
template <class V>
static OMNICONV_INLINE Pair<V> finish_log(const Quotient<V>& n) {
  const V q = n.d * n.inverse, square = q * q, twice = q + q;
  const V q_low = ((n.d_low - residue(q, n.sum, -n.d)) - q * n.sum_low) * n.inverse;
  const Pair<V> high = fast_two_sum(n.exponent * set<V>(kLog2High<V>), twice);
  const V low = fma(n.exponent, set<V>(kLog2Low<V>), twice * (square * atanh_tail(square)));
  return {high.hi, high.lo + fma(set<V>(2), q_low, low)};
}

// The same to 1 ulp.
template <class V>
static OMNICONV_INLINE V finish_log_short(const Quotient<V>& n) {
  const V q = n.d * n.inverse, square = q * q, twice = q + q;
  const V fraction = fma(twice * square, atanh_tail(square), twice);
  return fma(n.exponent, set<V>(kLog2High<V>), fma(n.exponent, set<V>(kLog2Low<V>), fraction));
}

// log((n.hi + n.lo) / x) + shift log 2.
template <class V>
static OMNICONV_INLINE Pair<V> log_quotient(Pair<V> n, V x, V shift = V{}) {
  Quotient<V> quotient;
  begin_log(n, x, quotient);
  quotient.inverse = set<V>(1) / quotient.sum;
  quotient.exponent += shift;
  return finish_log(quotient);
}

// e^x for |x| <= 700, to 1 ulp.
static OMNICONV_INLINE f64 exp_bounded(f64 x) {
  constexpr double kRound = 0x1.8p52;  // adding it leaves the nearest integer in the low mantissa bits
  const f64 shifted = fma(x, set<f64>(0x1.71547652b82fep0), set<f64>(kRound));
  const f64 n = shifted - set<f64>(kRound);
  f64 r = fma(n, set<f64>(-kLog2In64[0]), x);
  r = fma(n, set<f64>(-kLog2In64[1]), r);
  const f64 power = set<f64>(1) + fma(r * r, polynomial(kExp, r), r);
  return from_bits<f64>(bits_of(power) + (bits_of(shifted) << 52));
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::bessel
