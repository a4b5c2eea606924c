// dfp16/kernels.hpp -- what an ISA provides to integer convolution: plain functions on plain memory
//
// One table per ISA; the texts are in pairs.inl.hpp, convert.inl.hpp and tiles.inl.hpp, the shells in dfp16_<isa>.cpp.
#pragma once

#include <cstdint>

namespace omniconv::dfp16 {

inline constexpr int kMaxTileRows = 12;
inline constexpr int kNormBlock = 8;  // elements whose squares are summed together, see certificate.hpp

// A piece of a reduction: `pairs` pairs of neighbouring int16, `offset` elements from where a row starts. After the
// piece that has `last` set, the sums of 32 bits move on to wider ones.
struct Segment {
  int64_t offset;
  int32_t pairs;
  int32_t last;
};

// sums[i][j] = sum over all segments of row_i times column_j, j < lanes of a panel [pair][lanes][2].
struct PairArgs {
  const int16_t* const* rows;
  const Segment* segments;
  int64_t count;
  const int16_t* panel;
  int64_t* sums;
  float* spill;  // instead of sums: every chain is rounded to float32, and these are summed in order
};

// Matrix unit: sums[i][j] += sum_k a_i[k] b[k][j] of 16 rows and 16 columns, split into bytes.
// a: [k / 64][high, low][16 rows][64]; b: [k / 64][high, low][k / 4 % 16][16 columns][4], high signed, low unsigned.
inline constexpr int kTile = 16, kTileDepth = 64;
inline constexpr int64_t kTileBytes = 2 * kTile * kTileDepth;  // of one step of 64 terms
inline constexpr int64_t kMostTileSteps = 65793 / kTileDepth;  // what sums of 32 bits hold, see tiles.inl.hpp
struct TileArgs {
  const uint8_t *a, *b;
  int64_t steps;  // of 64 terms, at most kMostTileSteps
  int64_t* sums;
  int64_t sums_row;
};

struct TileKernels {
  void (*configure)();
  void (*release)();
  void (*multiply)(const TileArgs&);
  // 16 rows of `length` values into the form of `a`, zeros behind.
  void (*split_rows)(const int16_t* values, int64_t row, int64_t length, uint8_t* a);
};

// dst[i * dst_row + j] = rn(src[i * row_stride + j * column_stride] * factor[0] * factor[1]) of float32, or the int16
// itself. Two factors, because one float32 cannot hold every power of two that is needed. With `inverse` instead, what
// is nearest to src * inverse in [low, high], where NaN is low.
struct FillArgs {
  const void* src;
  bool integer;
  int64_t row_stride, column_stride, rows, columns;
  int16_t* dst;
  int64_t dst_row;
  float factor[2];
  double inverse = 0, low = 0, high = 0;
};

// out[i] = float32(sums[i] * scale), rounded once. digits: sums is [.., 2, width], high and low digits of one column.
struct FloatArgs {
  const int64_t* sums;
  int64_t columns;
  bool digits;
  bool small;  // |sums| < 2^51
  double row_scale;
  const double* column_scale;  // or null
  float* out;
};

// Depthwise: sums[i] = sum over runs r and j < run of weights[r * weights_run + j] source[offsets[r] + j + i * step].
// Whole vectors are read and written, two of int32 at a time.
struct LineArgs {
  const int16_t* source;
  const int64_t* offsets;
  int64_t runs, run, weights_run;
  const int16_t* weights;
  int64_t step, count;
  double* sums;
};

struct Kernels {
  int width;      // columns in a vector
  int lanes;      // columns of a panel, two vectors
  int tile_rows;  // largest tile
  void (*pairs[kMaxTileRows + 1])(const PairArgs&);
  void (*pack_pairs)(const int16_t* rows, int64_t row, int64_t pairs, int64_t lanes, int64_t place, int16_t* panel);
  void (*fill)(const FillArgs&);
  int32_t (*max_bits)(const float* values, int64_t count, int64_t stride);      // largest magnitude, as bits
  void (*squares)(const int16_t* values, int64_t blocks, int64_t* sums);        // of kNormBlock elements each
  int64_t (*window_max)(const int64_t* prefix, int64_t count, int64_t window);  // of `count` sums up to each place
  void (*to_float)(const FloatArgs&);
  void (*line)(const LineArgs&);
  int64_t (*dot)(const int16_t* a, const int16_t* b, int64_t count);  // of at most 2^23 products
  const TileKernels* tiles;  // null where the ISA has no matrix unit; emulated by scalar
};

const Kernels& kernels();  // of the current ISA
const TileKernels& emulated_tiles();

#define OMNICONV_DFP16_ISA(isa)   \
  namespace isa {                 \
  const Kernels& dfp16_kernels(); \
  }
OMNICONV_DFP16_ISA(scalar)
OMNICONV_DFP16_ISA(neon)
OMNICONV_DFP16_ISA(avx2)
OMNICONV_DFP16_ISA(avx512)
OMNICONV_DFP16_ISA(avx512vnni)
OMNICONV_DFP16_ISA(amx)
#undef OMNICONV_DFP16_ISA

}  // namespace omniconv::dfp16
