// dfp16/certificate.hpp -- how long a chain of int32 sums may be, with a proof
//
// The sum of a chain is the product of a piece of a row and a piece of a column, so by Cauchy and Schwarz its magnitude
// is at most the product of their Euclidean norms. Norms come from sums of squares of blocks of 16 elements: a piece
// of L elements lies in a window of so many blocks, and the largest window anywhere bounds all pieces. On data with a
// normal distribution this allows chains some ten times longer than max |x| sum |w| does (46 products against 5 where
// both operands have 15 bits and a largest value of 4.5 sigma). Everything is done in integers and doubles rounded up.
#pragma once

#include "dfp16/shape.hpp"
#include "omniconv/dfp16.hpp"

namespace omniconv::dfp16 {

// Lengths that are tried; the first ones serve fp32_spill alone, for exact sums split weights into digits before.
inline constexpr int64_t kLengths[] = {2,   4,   8,   16,  32,   48,   64,   96,   128,  192,
                                       256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192, 16384};
inline constexpr int kLengthCount = sizeof kLengths / sizeof kLengths[0];
inline constexpr int64_t kShortestExact = 16;
inline constexpr double kMostSum = 2147483647.0;

// The largest sum of squares over any piece of kLengths[i] elements, for every i.
struct Norms {
  int64_t squared[kLengthCount];
};

// Of matrix [rows of the dense weights]; `prefix`: room for elements / kNormBlock + 1.
Norms column_norms(const Shape& shape, const int16_t* dense, const Kernels& kernels, int threads, int64_t* prefix);

struct Chain {
  int64_t length;  // elements of the longest chain
  bool digits;     // of weights split into bytes
  double bound;    // of |sum|
};

// overflow decides which bounds count; a_bits and b_bits are those of the mantissas, 16 where -32768 may occur.
// `source` and `prefix` are used by Overflow::certified alone.
Chain choose_chain(const Shape& shape, const Options& options, const int16_t* source, const Norms& columns,
                   const Kernels& kernels, int threads, int64_t* prefix);

// The runs of a row cut into chains. Returns the number of segments, at most most_segments().
int64_t cut(const Shape& shape, int64_t chain, Segment* segments);
int64_t most_segments(const Shape& shape, int64_t shortest);

}  // namespace omniconv::dfp16
