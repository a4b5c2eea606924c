// bessel/elementary.inl.hpp -- logarithm of a quotient to more than working precision, and exp, on f32 and f64 vectors
#pragma once

#include "bessel/tables.hpp"
#include "simd/real.hpp"

namespace omniconv::bessel {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

template <class V>
constexpr bool kIsDouble = sizeof(Scalar<V>) == 8;

// log((n.hi + n.lo) / x) + shift log 2 for normal positive n.hi and x, their quotient within 2^+-1000 (float32:
// 2^+-120), to about 2^-59 (2^-30) of its size.
//
// With e the difference of the binary logarithms, each read off the bits as exponent + fraction, the quotient n / (2^e
// x) lies in [2/3, 3/2], so that n - 2^e x is exact and q = (n - 2^e x) / (n + 2^e x) is at most 1/5; log = e log 2 + 2
// atanh q. One division, whose residue is the low part.
template <class V>
static OMNICONV_INLINE Pair<V> log_quotient(Pair<V> n, V x, V shift = V{}) {
  using W = Word<V>;
  using B = Bits<V>;
  typedef typename Real<V>::unsigned_word U __attribute__((vector_size(sizeof(V))));
  constexpr int kMantissa = Real<V>::mantissa;
  constexpr W kOffset = Real<V>::bias + 1;  // keeps the difference positive for the unsigned shift
  const B difference = bits_of(n.hi) - bits_of(x) + ((kOffset << kMantissa) + (W(1) << (kMantissa - 1)));
  const B biased = reinterpret_cast<B>(reinterpret_cast<U>(difference) >> kMantissa);
  // 2^mantissa with an integer in its low bits is 2^mantissa + that integer.
  constexpr W kMagicBits = W(Real<V>::bias + kMantissa) << kMantissa;
  constexpr double kMagic = double(uint64_t(1) << kMantissa) + double(kOffset);
  const V exponent = (from_bits<V>(biased | kMagicBits) - set<V>(kMagic)) + shift;
  const V scaled = from_bits<V>(bits_of(x) + (biased << kMantissa) - (kOffset << kMantissa));

  const V d = n.hi - scaled, sum = (scaled + scaled) + d;
  const V sum_low = (d - (sum - (scaled + scaled))) + n.lo;
  const V inverse = set<V>(1) / sum, q = d * inverse;
  const V q_low = ((n.lo - residue(q, sum, -d)) - q * sum_low) * inverse;
  const V square = q * q;
  V tail;
  if constexpr (kIsDouble<V>)
    tail = polynomial(kAtanh64, square);
  else
    tail = polynomial(kAtanh32, square);
  constexpr double kHigh = kIsDouble<V> ? kLog2In64[0] : kLog2In32[0];
  constexpr double kLow = kIsDouble<V> ? kLog2In64[1] : kLog2In32[1];
  const V twice = q + q;
  const Pair<V> high = fast_two_sum(exponent * set<V>(kHigh), twice);
  return {high.hi, high.lo + (fma(set<V>(2), q_low, fma(exponent, set<V>(kLow), twice * (square * tail))))};
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
