// dfp16/c_api.cpp -- the C interface of dynamic fixed point
#include "conv/c_api.hpp"

#include "omniconv/dfp16.hpp"

namespace omniconv::c_api {
namespace {

using Options = omniconv_dfp16_options;

static_assert(sizeof(Options) == 5 * sizeof(void*) + 4 * sizeof(int32_t) + 2 * sizeof(uint64_t), "no padding");

Options default_options() {
  return {sizeof(Options), "tensor", "nearest_even", 0, 0, 15, 0, "exact", "certified", 15, 15};
}

Options options_of(const Options* given) {
  Options o = read(given, default_options(), "options");
  const Options defaults = default_options();
  if (!o.granularity) o.granularity = defaults.granularity;
  if (!o.rounding) o.rounding = defaults.rounding;
  if (!o.accumulate) o.accumulate = defaults.accumulate;
  if (!o.overflow) o.overflow = defaults.overflow;
  return o;
}

TensorView any(const DLTensor* tensor, const char* argument) {
  return array(tensor, argument, On::cpu, Types::floats_and_integers);
}

}  // namespace
}  // namespace omniconv::c_api

using namespace omniconv;
using namespace omniconv::c_api;

omniconv_status omniconv_dfp16_options_init(omniconv_dfp16_options* options, size_t size) {
  return guarded([&] {
    required(options, "options");
    const omniconv_dfp16_options defaults = default_options();
    if (size < sizeof defaults || size > kLargestSize)
      throw Error(Code::invalid_argument, "the size of options is " + std::to_string(size) +
                                              "; expected is sizeof(omniconv_dfp16_options), here " +
                                              std::to_string(sizeof defaults));
    std::memset(static_cast<void*>(options), 0, size);
    std::memcpy(static_cast<void*>(options), &defaults, sizeof defaults);
    options->size = size;
  });
}

omniconv_status omniconv_dfp16_quantize(const DLTensor* x, const DLTensor* mantissa, const DLTensor* exponent,
                                        const omniconv_dfp16_options* options) {
  return guarded([&] {
    const omniconv_dfp16_options o = options_of(options);
    dfp16::quantize(any(x, "x"),
                    {o.bits, dfp16::parse_granularity(o.granularity), dfp16::parse_rounding(o.rounding), o.seed,
                     o.stream, o.saturate != 0, false},
                    any(mantissa, "mantissa"), any(exponent, "exponent"));
  });
}

omniconv_status omniconv_dfp16_dequantize(const DLTensor* mantissa, const DLTensor* exponent, const DLTensor* out,
                                          const omniconv_dfp16_options* options) {
  return guarded([&] {
    const dfp16::Granularity granularity = dfp16::parse_granularity(options_of(options).granularity);
    dfp16::dequantize(any(mantissa, "mantissa"), any(exponent, "exponent"), granularity, any(out, "out"));
  });
}

omniconv_status omniconv_dfp16_conv(omniconv_conv_op op, const DLTensor* a, const DLTensor* a_exponent,
                                    const DLTensor* b, const DLTensor* b_exponent, const DLTensor* bias,
                                    const DLTensor* out, const omniconv_conv_options* geometry,
                                    const omniconv_dfp16_options* options) {
  return guarded([&] {
    const omniconv_dfp16_options o = options_of(options);
    dfp16::convolve(describe(parse(op), geometry),
                    {dfp16::parse_accumulate(o.accumulate), dfp16::parse_overflow(o.overflow), o.a_bits, o.b_bits},
                    {any(a, "a"), any(b, "b"), any(out, "out"), optional_array(bias, "bias"),
                     any(a_exponent, "a_exponent"), any(b_exponent, "b_exponent")});
  });
}
