// dfp16/certificate.hpp -- how long a chain of int32 sums may be, with a proof
//
// The sum of a chain is the product of a piece of a row and a piece of a column, so by Cauchy and Schwarz its magnitude
// is at most the product of their Euclidean norms. Norms come from sums of squares of blocks of 8 elements: a piece of
// L elements lies in a window of so many blocks, and the largest window anywhere bounds all pieces. Where values have a
// normal distribution this allows chains of 8 to 48 terms at 15 bits, by where in its octave the largest value lies;
// max |x| sum |w| would allow 4 to 12. Emptying a chain takes 36 instructions of a tile's 24 to a pair of terms, so
// chains of 8 cost a third, and splitting weights into digits, which needs no certificate, all of it again. Everything
// is done in integers, and in doubles rounded up.
#pragma once

#include "dfp16/shape.hpp"
#include "omniconv/dfp16.hpp"

namespace omniconv::dfp16 {

// Lengths that are tried; the first ones serve fp32_spill alone, for exact sums split weights into digits before.
inline constexpr int64_t kLengths[] = {2,   4,   8,   16,  24,  32,  40,   48,   64,   80,   96,
                                       128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 16384};
inline constexpr int kLengthCount = sizeof kLengths / sizeof kLengths[0];
inline constexpr int64_t kShortestExact = 8;
// What a chain may reach: the 16 bits that it takes over from the one before come on top (pairs.inl.hpp).
inline constexpr double kMostSum = 2147483647.0 - 65535.0;

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
