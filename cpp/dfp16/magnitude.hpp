// dfp16/magnitude.hpp -- exponents of float32 arrays of any strides
#pragma once

#include "dfp16/kernels.hpp"
#include "omniconv/tensor.hpp"

namespace omniconv::dfp16 {

inline constexpr int kMagnitudeParts = 64;  // of an image, searched by several threads

// The exponent of x, or where count > 1 of each index of its first axis. Error naming `argument` for NaN and infinity.
// partial: room for kMagnitudeParts * count values.
void quantisation_of(const TensorView& x, int bits, const char* argument, const Kernels& kernels, int threads,
                     int32_t* partial, int32_t* exponents, int64_t count);

}  // namespace omniconv::dfp16
