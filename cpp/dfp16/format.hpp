// dfp16/format.hpp -- exponents: what a largest magnitude asks for, and scales that float32 can hold
#pragma once

#include <cmath>
#include <cstdint>

#include "omniconv/dfp16.hpp"

namespace omniconv::dfp16 {

inline int64_t largest_mantissa(int bits) { return (int64_t{1} << bits) - 1; }

// The exponent for values of magnitude `most` (finite): floor(log2 most) + 1 - bits, one more where `most` would round
// to 2^bits. Stochastic rounding may go up from any fraction, so there `most` itself has to fit.
inline int32_t exponent_for(double most, int bits, Rounding rounding) {
  if (most == 0) return 0;
  const int32_t e = std::ilogb(most) + 1 - bits;
  if (rounding == Rounding::toward_zero) return e;
  const double scaled = std::ldexp(most, -e);
  const double reached = rounding == Rounding::stochastic ? std::ceil(scaled) : std::nearbyint(scaled);
  return reached > double(largest_mantissa(bits)) ? e + 1 : e;
}

// 2^-exponent as a product of two float32.
inline void factors_of(int32_t exponent, float (&factor)[2]) {
  const int shift = exponent > 250 ? -250 : exponent < -250 ? 250 : -exponent;
  factor[0] = std::ldexp(1.0f, shift / 2);
  factor[1] = std::ldexp(1.0f, shift - shift / 2);
}

}  // namespace omniconv::dfp16
