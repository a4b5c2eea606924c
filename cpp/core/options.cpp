// core/options.cpp -- the words of padding modes, activations and precisions
#include <string>

#include "omniconv/conv.hpp"
#include "omniconv/dfp16.hpp"

namespace omniconv {
namespace {

template <class Enum, size_t N>
Enum parse(const char* argument, std::string_view text, const char* const (&names)[N]) {
  std::string allowed;
  for (size_t i = 0; i < N; ++i) {
    if (text == names[i]) return Enum(i);
    allowed += std::string(i ? ", " : "") + "'" + names[i] + "'";
  }
  throw Error(Code::invalid_argument,
              std::string(argument) + " is '" + std::string(text) + "'; allowed are " + allowed);
}

}  // namespace

PaddingMode parse_padding_mode(std::string_view text) {
  return parse<PaddingMode>("padding_mode", text, {"zeros", "reflect", "replicate", "circular"});
}

Activation parse_activation(std::string_view text) {
  return parse<Activation>("activation", text,
                           {"none", "relu", "relu6", "leaky_relu", "silu", "gelu", "gelu_tanh", "quick_gelu",
                            "hardswish", "sigmoid", "tanh"});
}

Precision parse_precision(std::string_view text) {
  return parse<Precision>("precision", text, {"highest", "high", "medium", "dfp16"});
}

namespace dfp16 {

Rounding parse_rounding(std::string_view text) {
  return parse<Rounding>("rounding", text, {"nearest_even", "toward_zero", "stochastic"});
}

Granularity parse_granularity(std::string_view text) {
  return parse<Granularity>("granularity", text, {"tensor", "image", "channel", "row"});
}

Accumulate parse_accumulate(std::string_view text) {
  return parse<Accumulate>("accumulate", text, {"exact", "fp32_spill"});
}

Overflow parse_overflow(std::string_view text) {
  return parse<Overflow>("overflow", text, {"certified", "worst_case", "unchecked"});
}

}  // namespace dfp16

}  // namespace omniconv
