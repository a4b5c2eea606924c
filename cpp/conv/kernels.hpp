// conv/kernels.hpp -- what an ISA provides to dense convolution: plain functions on plain memory
//
// One table per ISA; the texts are in tile.inl.hpp, pack.inl.hpp and finish.inl.hpp, the shells in conv_<isa>.cpp.
#pragma once

#include <cstdint>

#include "conv/winograd_kernels.hpp"
#include "omniconv/options.hpp"

namespace omniconv::conv {

inline constexpr int kMaxTileRows = 14;
inline constexpr int kMaxTileVectors = 4;

// c[i, j] (+)= sum_k a_i[k] * b[k, j] for one tile of pixels x channels, j over the panel's lanes.
// The reduction runs over segments of `segment_length` contiguous elements: segment s of pixel i starts at
// rows[s * row_step + i] + s * element_step. It starts at element `offset` of segment `segment` and takes `count`
// elements; b and c are dense with the panel's width, c unless it has a c_row. `add` adds to c, one rounding per call;
// a sum is cut likewise after every `sum_block` elements. This is what keeps a long sum in blocks.
struct TileArgs {
  const float* const* rows;
  int64_t row_step, element_step, segment_length;
  int64_t segment, offset, count;
  const float* b;
  float* c;
  bool add;
  // Output that this tile will become: `touch_count` addresses, touch_step floats apart, fetched for writing while
  // the sums run. A line written cold is waited for (some 100 ns, of which 16 fill buffers hide most): on
  // layer 9 of the im2win papers, batch 16, the store pass took 10 % of the time without this and 3 % with it.
  const float* touch = nullptr;
  int64_t touch_step = 0, touch_count = 0;
  int64_t sum_block = INT64_MAX;
  int64_t c_row = 0;  // floats between the rows of c; 0: dense
  // A line of it is fetched into L2 at each step of k. Weights of a network come from memory, where the first tile that
  // b meets would wait for them; what follows b comes while its own tiles run, a line of each row with each of them.
  // ConvNeXt-T, batch 1: 1.07 times the rate; blocks of 384 to 768 channels 1.10-1.14, nothing where weights are in L3.
  // With fewer tiles than lines in a row it is memory that bounds, and fetching some of them lost 12 %.
  const float* later = nullptr;
  void fetch_later(const float* next, int64_t tile, int64_t tiles, int64_t lanes) {
    later = next && 16 * tiles >= lanes && 16 * tile < lanes ? next + 16 * tile : nullptr;
  }
};

// c[i, j] (+)= sum_p a_p[offset + i] * b[p, j], i over taps x channels of a window, p over `count` pixels.
struct OuterArgs {
  const float* const* rows;
  int64_t offset, count;
  const float* b;
  float* c;
  bool add;
  int64_t c_row = 0;  // as in TileArgs
};

// dst[t][place(j) + i] = src[i * row_stride + j * column_stride] for i < rows, j < columns and every t < copies;
// place(j) is place[j] where given, else j * dst_stride. Where `row_sources` is given, row i starts at
// row_sources[i] instead, null for a row of zeros.
// Element is float, or Part: three bfloat16 parts, the second and third `plane` and 2 * `plane` elements behind.
using Part = uint16_t;
// Magnitudes that three parts can stand for, as bits of a float32: 2^-50 to 2^60; zero as well.
inline constexpr uint32_t kSplitLowest = uint32_t(127 - 50) << 23, kSplitHighest = uint32_t(127 + 60) << 23;
template <class Element>
struct PackArgsOf {
  const float* src;
  int64_t row_stride, column_stride, rows, columns;
  Element* const* dst;
  int64_t copies, dst_stride;
  const int64_t* place = nullptr;
  const float* const* row_sources = nullptr;
  int64_t shift = 0;  // added to every row's start
  int64_t ahead = 0;  // distance to the elements that will be packed next, fetched meanwhile; 0: none
  int64_t plane = 0;
  uint32_t* unusual = nullptr;  // Part: made nonzero by a value that three parts cannot stand for, stored as zero
};
using PackArgs = PackArgsOf<float>;

// y[p * y_pixel + j * y_channel] = activation(c[p, j] * scale[j] + bias[j] + residual[...]), c dense [pixels, panel].
struct FinishArgs {
  const float* c;
  int64_t panel, pixels, channels;
  float* y;
  int64_t y_pixel, y_channel;
  const float* residual;
  int64_t r_pixel, r_channel;
  const float* bias;
  const float* scale;
  Activation activation;
  float negative_slope;
};

// Sums of shifted input: c[i, l] (+)= sum_k of one of these, l < lanes.
enum class PlanarMode {
  rows_are_channels,  // w_k[i] x[offsets[k] + l]
  rows_are_rows,      // w_k[0] x[offsets[k] + i * x_row + l]
  rows_slide,         // rows_are_rows where `slide` terms in a row are x_row apart: each row of x is read once for them
};
// x and w may be read up to a vector past the last lane.
struct PlanarArgs {
  const float* x;
  const int64_t* offsets;
  int64_t count, x_row, slide;
  int64_t repeat;  // slide_3: tiles of one height, one below the other
  const float* w;  // w_k at k * w_term
  int64_t w_term;
  float* c;
  int64_t c_row;
  int lanes;
  bool add;
};

// y[i, p] = activation(c[i, p] * scale[i'] + bias[i'] + residual[i, p]), i' = i * channel_step.
struct PlanarFinishArgs {
  const float* c;
  int64_t c_row, rows, pixels;
  float* y;
  int64_t y_row, y_pixel;
  const float* residual;
  int64_t r_row, r_pixel;
  const float* bias;
  const float* scale;
  int64_t channel_step;
  Activation activation;
  float negative_slope;
};

// Rows of contiguous columns to a strip with zeros at both ends: to[r][phase][column], `phase` floats each, stride 1 or
// 2. Column i of phase q is x[r * x_row + i * stride + q - lo], zero outside [0, in).
struct PlanarLinesArgs {
  const float* x;
  int64_t x_row, in, lo, stride, rows;
  float* to;
  int64_t phase;
};

// Sums over pixels for a tile of taps: sums[i * taps_w + j] += sum_{r, p} g[r * g_row + p] x[r * x_row + i * x_tap + j
// + p], p < columns. One chain per lane and call.
struct PlanarOuterArgs {
  const float *g, *x;
  int64_t g_row, x_row, x_tap;
  int64_t rows, columns;
  double* sums;
};

inline constexpr int kMaxPlanarRows = 12;
inline constexpr int kMaxPlanarVectors = 3;
inline constexpr int kMaxPlanarTaps = 12;

struct PlanarKernels {
  int rows[kMaxPlanarVectors + 1];                                                // largest tile of so many vectors
  void (*tile[3][kMaxPlanarVectors + 1][kMaxPlanarRows + 1])(const PlanarArgs&);  // [mode][vectors][rows]
  // rows_slide for kernels of 3 rows and one channel, by [vectors][rows]; add is false. Rows from least_3 to rows_3, so
  // that any number of rows from least_3 on can be cut into tiles.
  int least_3[kMaxPlanarVectors + 1], rows_3[kMaxPlanarVectors + 1];
  void (*slide_3[kMaxPlanarVectors + 1][kMaxPlanarRows + 1])(const PlanarArgs&);
  void (*outer[kMaxPlanarTaps + 1][kMaxPlanarTaps + 1])(const PlanarOuterArgs&);  // [taps_h][taps_w], product <= 12
  void (*finish)(const PlanarFinishArgs&);
  void (*lines)(const PlanarLinesArgs&);
};

// c[i, l] = sum_k w_k[l] x_k,i[l] over column, plane and row taps, the row innermost, for outputs i one below the other
// and l < lanes channels side by side: rows[i * stride + row tap] + columns[column tap] + x is x_k,i. w and x may be
// read up to the end of the last vector, x for all rows of the tile, be there so many outputs or not.
inline constexpr int64_t kOutsideInput = INT64_MIN;
struct DepthwiseArgs {
  const float* const* rows;     // of a plane; the next one plane_rows further
  int64_t x;                    // first channel, from the pointers on
  const int64_t* columns;       // kOutsideInput: x is zero
  const float* const* outside;  // what takes the place of rows then
  int64_t row_taps, plane_taps, column_taps;
  int64_t row_step, plane_rows, column_step;  // from tap to tap
  int64_t stride;                             // rows from output to output
  const float* w;                             // [vector][k][lanes]
  int64_t chain;                              // sums are cut after so many terms
  float* c;
  int64_t c_row, outputs, lanes;  // of all vectors
};

using DepthwiseTile = void (*)(const DepthwiseArgs&);
inline constexpr int kDepthwiseTaps[] = {1, 3, 5, 7};  // rows that share what is read of x
inline constexpr int kDepthwiseTapForms = 4, kDepthwiseRowForms = 4;

struct DepthwiseKernels {
  int rows[kDepthwiseRowForms];  // outputs of a tile, the largest first
  // [rows][taps][stride - 1]; those of one tap go with every stride and row_step, the others with row_step 1.
  DepthwiseTile tile[kDepthwiseRowForms][kDepthwiseTapForms][2];
};

// The same for groups of several channels: k runs over (column tap, plane tap, row tap, ci), and several columns of
// outputs, the first of which DepthwiseArgs describe, make a tile. `lanes` are output channels, x those of the input.
struct GroupArgs {
  int64_t ci;                             // terms of a tap
  const int32_t* picks;                   // [ci][lanes]: the channel of a vector of x that a lane takes
  int64_t vector, group_vectors, x_step;  // the first vector; so many take their x from one place, the next from x_step
  int64_t outputs_across, stride_across;  // columns of outputs that are there, and of x between them
  int64_t c_across;
};

using GroupTile = void (*)(const DepthwiseArgs&, const GroupArgs&);

struct GroupKernels {
  int columns, rows[2];  // outputs of a tile, the higher first
  // [rows][picks][form]: one tap at a time with every stride and row_step, or three in a row with stride 1 or 2.
  GroupTile tile[2][2][3];
};

// Two rows of output of winograd_2x1: with chain_s[i, l] = sum_k w_sk[i] x[s * slot_step + offsets[k] + l] over `count`
// terms, c[o][i, l] = sum_s factors[2 s + o] chain_s[i, l], l < lanes; w_sk at (s * count + k) * w_term.
struct RowPairArgs {
  const float* x;
  int64_t slots, slot_step;
  const int64_t* offsets;
  int64_t count;
  const float* factors;
  const float* w;
  int64_t w_term;
  float* sums;  // scratch for two tiles
  float* c[2];
  int64_t c_row;
  int lanes;
};

inline constexpr int kMaxRowPairTaps = 4;

struct RowPairKernels {
  void (*tile[kMaxPlanarVectors + 1][kMaxPlanarRows + 1])(const RowPairArgs&);  // [vectors][rows]
  // By taps: that many rows and one more, row_step apart, transformed in place; returns the bits of the largest
  // magnitude among them.
  int32_t (*transform[kMaxRowPairTaps + 1])(float* rows, int64_t row_step, int64_t floats);
};

using TileFn = void (*)(const TileArgs&);
using OuterFn = void (*)(const OuterArgs&);

// Products of float32 numbers as products of bfloat16 parts; see split.hpp.
struct SplitTileArgs {
  const Part* a[2];              // first parts of the first window of each of two tiles of pixels; a[1] null: one tile
  int64_t a_plane;               // elements between parts
  int64_t a_step;                // elements between the windows of a tile
  int64_t segment_step, chunks;  // segments are segment_step elements apart, each of `chunks` steps of 32 elements
  int64_t first, count;          // steps to take now, counted over all segments
  const Part* b;  // [segment][chunk][part][16 channels] of tiles 16 x 32, for one or two times 16 channels
  int b_tiles;
  const float* from[2];  // sums so far, null at the first step
  float* c[2];
  int64_t c_stride;    // floats, of both
  const float* touch;  // as in TileArgs
  int64_t touch_step, touch_count;
};

struct SplitKernels {
  void (*pack)(const PackArgsOf<Part>&);
  // One segment of `length` rows of a packed panel of `lanes` (16 or 32) channels as tiles; nonzero: unusual values.
  uint32_t (*pack_weights)(const float* panel, int64_t length, int64_t lanes, Part* out);
  void (*configure)(int rows);  // the calling thread's tiles have so many rows from here to release()
  void (*release)();
  void (*multiply)(const SplitTileArgs&);
};

struct Kernels {
  int lanes;                                           // floats per vector
  int tile_vectors;                                    // of the widest panel
  int tile_rows[kMaxTileVectors + 1];                  // [vectors]: of the tallest tile, never more than with fewer
  TileFn tile[kMaxTileVectors + 1][kMaxTileRows + 1];  // [vectors][rows], from 1
  OuterFn outer[kMaxTileVectors + 1][kMaxTileRows + 1];
  void (*pack)(const PackArgs&);
  void (*finish)(const FinishArgs&);
  double peak;                // floating point operations per cycle and core, for predictions
  const SplitKernels* split;  // null where the ISA has no matrix unit
  WinogradKernels winograd[kWinogradCount];
  PlanarKernels planar;
  DepthwiseKernels depthwise;
  GroupKernels group;
  RowPairKernels row_pair;
};

const Kernels& kernels();  // of the current ISA

#define OMNICONV_CONV_ISA(isa)   \
  namespace isa {                \
  const Kernels& conv_kernels(); \
  }
OMNICONV_CONV_ISA(scalar)
OMNICONV_CONV_ISA(neon)
OMNICONV_CONV_ISA(avx2)
OMNICONV_CONV_ISA(avx512)
OMNICONV_CONV_ISA(amx)
#undef OMNICONV_CONV_ISA

}  // namespace omniconv::conv
