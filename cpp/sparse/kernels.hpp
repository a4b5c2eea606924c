// sparse/kernels.hpp -- what an ISA provides to sparse convolution: plain functions on plain memory
#pragma once

#include <cstdint>

namespace omniconv::sparse {

inline constexpr int kMaxRows = 14;

// c_i[shift + j] += sum_k a_i[k] b[k, j] for `pairs` rows, j over the panel's lanes, k < count. One chain per call.
struct TileArgs {
  const float* const* a;
  float* const* c;
  int64_t pairs, shift;
  const float* b;
  int64_t count;
};

// c[i, j] += sum_p a_p[i] b_p[j], i < rows, j < lanes; c dense, c_row floats apart. One chain per call.
struct OuterArgs {
  const float* const* a;
  const float* const* b;
  int64_t pairs, a_shift, b_shift;
  float* c;
  int64_t c_row;
  int rows, lanes;
};

// An input and an output by their places.
struct SparsePair {
  int32_t in, out;
};

// `taps` taps from `tap` on that ask for the key of an output plus delta, delta + 1, ...
template <class Key>
struct TapRow {
  Key delta;
  int64_t tap, taps;
};

inline constexpr int64_t kMatchAhead = 16;  // keys behind both lists that may be read, those of inputs above all others

// Appends to to[tap], for each of `count` outputs, the input that has the key, by its place in the list, and the output
// by its place among these; up to kMatchAhead pairs behind the end are written over. at[row] begins at or before the
// first input of the row, and is moved on. Keys of inputs and outputs ascend, none twice.
template <class Key>
struct MatchArgs {
  const Key *in, *out;
  int64_t count;
  const TapRow<Key>* rows;
  int64_t row_count;
  int64_t* at;
  SparsePair** to;
};

// y[i - first] = row_scale[i] * sum_e values[e] column_scale[columns[e]] x[columns[e]] for rows first <= i < last; what
// is null is 1. Columns of y beyond `width` are not written.
struct SpmmArgs {
  const int64_t* begin;
  const int32_t* columns;
  const float *values, *row_scale, *column_scale;
  const float* x;
  int64_t x_step;
  float* y;
  int64_t y_step, width, rows, first, last;
};

// to[p][c] = sum_t w[t * w_tap + c] pixels[p][offsets[t] + c] for p < count and c < channels; what is read is read up
// to two vectors past the last channel.
struct PixelArgs {
  const float* const* pixels;
  float* const* to;
  int64_t count;
  const int64_t* offsets;
  int64_t taps;
  const float* w;
  int64_t w_tap, channels;
};

struct Kernels {
  int lanes;                           // floats per vector
  int rows;                            // of the largest outer tile
  int panel;                           // vectors that a tile takes at most
  void (*tile[5])(const TileArgs&);    // [vectors per panel], from 1
  void (*outer[3])(const OuterArgs&);  // likewise; only the last vector may be partial
  void (*match)(const MatchArgs<int64_t>&);
  void (*spmm)(const SpmmArgs&);
  void (*pixels)(const PixelArgs&);
};

const Kernels& kernels();  // of the current ISA

#define OMNICONV_SPARSE_ISA(isa)   \
  namespace isa {                  \
  const Kernels& sparse_kernels(); \
  }
OMNICONV_SPARSE_ISA(scalar)
OMNICONV_SPARSE_ISA(neon)
OMNICONV_SPARSE_ISA(avx2)
OMNICONV_SPARSE_ISA(avx512)
#undef OMNICONV_SPARSE_ISA

}  // namespace omniconv::sparse
