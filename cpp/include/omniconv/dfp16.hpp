// omniconv/dfp16.hpp -- INT16 dynamic fixed point: tensors of int16 that share an exponent, and exact convolution
//
// A value is mantissa * 2^exponent with |mantissa| <= 2^bits - 1, and one exponent for a tensor, or for each index of
// an axis. Sums of products of mantissas are computed exactly, whatever the instruction set, and rounded once.
// Format: Das et al., "Mixed Precision Training of Convolutional Neural Networks using Integer Operations", ICLR 2018.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "omniconv/conv.hpp"

namespace omniconv {
namespace dfp16 {

enum class Rounding { nearest_even, toward_zero, stochastic };

// What shares an exponent: the tensor; an index of axis 0 (of a weight: an output channel); of axis 1; of all axes but
// the last.
enum class Granularity { tensor, image, channel, row };

OMNICONV_API Rounding parse_rounding(std::string_view text);
OMNICONV_API Granularity parse_granularity(std::string_view text);
OMNICONV_API int64_t exponent_count(Granularity granularity, const TensorView& x);

struct Format {
  int bits = 15;  // of a mantissa's magnitude, 2 to 15
  Granularity granularity = Granularity::tensor;
  Rounding rounding = Rounding::nearest_even;
  // Stochastic rounding: the bits depend on these and on an element's place in the dense row-major tensor alone
  // (Philox4x32-10: Salmon et al., SC 2011).
  uint64_t seed = 0, stream = 0;
  bool saturate = false;         // infinities become the largest mantissa and NaN 0; else either is an error
  bool given_exponents = false;  // `exponent` is read, not written; values beyond the largest mantissa become it
};

// x float32 of any strides, or int64 (whose own exponent is `base`) -> mantissa, int16, dense, and exponent, int32
// [exponent_count].
OMNICONV_API void quantize(const TensorView& x, const Format& format, const TensorView& mantissa,
                           const TensorView& exponent, int32_t base = 0);

// out = mantissa * 2^exponent, float32 (rounded where it is subnormal) or float64; all dense.
OMNICONV_API void dequantize(const TensorView& mantissa, const TensorView& exponent, Granularity granularity,
                             const TensorView& out);

// ---- convolution ---------------------------------------------------------------------------------------------------

enum class Accumulate {
  exact,       // integer sums; float32 results are the nearest to them
  fp32_spill,  // chains of exact integer sums are added up in float32
};
enum class Overflow {
  certified,   // chains as long as the norms of these operands prove to be safe
  worst_case,  // as long as is safe for any mantissas of their bits
  unchecked,   // one chain, which wraps: to show what the others are for
};
OMNICONV_API Accumulate parse_accumulate(std::string_view text);
OMNICONV_API Overflow parse_overflow(std::string_view text);

struct Options {
  Accumulate accumulate = Accumulate::exact;
  Overflow overflow = Overflow::certified;
  int a_bits = 15, b_bits = 15;  // of the mantissas; of float32 operands, those to quantise to
};

// How a run came out; see explain().
struct Report {
  std::string algorithm;   // "pairs", "lines" or "tiles"
  bool digits = false;     // pairs: weights split into bytes
  int64_t terms = 0;       // of the whole sum
  int64_t chain = 0;       // most terms that an int32 (of lines: a double) holds the sum of
  double bound = 0;        // no such sum is larger
  bool certified = false;  // bound <= 2^31 - 1 (2^53 of lines)
  int64_t largest = 0;     // bits of the largest float32 magnitude in out, for the next exponent
};

// Operands as mantissas: a and b of the op (see ConvOperands) are int16 with exponents of theirs, out is float32 or
// int64 (the sums themselves, without exponents; bias and activation do not go with it). An exponent array has one
// element, or one for each image of a (forward, grad_input), for each output channel (axis 0) of a forward weight,
// for each channel of a and of b (grad_weight: output channels of the gradient a, input channels of x).
// desc.algorithm: "auto", "lines" (depthwise), "pairs" or "tiles".
struct Operands {
  TensorView a{}, b{}, out{}, bias{}, a_exponent{}, b_exponent{};
};
OMNICONV_API Report convolve(ConvDesc desc, const Options& options, const Operands& operands);

// ---- 8 bits
// ----------------------------------------------------------------------------------------------------------

// real = scale * (q - zero), q in [-128, 127]: one format, or of a weight one for each output channel.
struct Affine8 {
  std::vector<double> scale;
  std::vector<int64_t> zero;
};

// A forward convolution of numbers of 8 bits. x is float32 and rounded on the way, to even and into the range (NaN to
// its low end); sums are exact; y = float32(sum * scales), then bias and the activation of desc in float32.
class OMNICONV_API Int8Conv {
 public:
  // desc: geometry, shapes and activation; weight: float32, copied.
  Int8Conv(ConvDesc desc, Affine8 x_format, Affine8 weight_format, const TensorView& weight);
  Int8Conv(Int8Conv&&) noexcept;
  Int8Conv& operator=(Int8Conv&&) noexcept;
  ~Int8Conv();
  void run(const TensorView& x, const TensorView& bias, const TensorView& y) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dfp16
}  // namespace omniconv
