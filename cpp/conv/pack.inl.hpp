// conv/pack.inl.hpp -- moving activations and weights into the order the tiles read
//
// A pack is a matrix transposition or a plain copy, decided by which source stride is 1. NCHW goes through the
// in-register transpose: kWidth^2 elements cost kWidth * log2(kWidth) shuffles, 0.25 cycles an element with
// AVX-512, once however many copies (overlapping windows) it is stored to.
#pragma once

#include "conv/kernels.hpp"
#include "simd/vec.hpp"

namespace omniconv::conv {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

static OMNICONV_INLINE int64_t place_of(const PackArgs& p, int64_t column) {
  return p.place ? p.place[column] : column * p.dst_stride;
}

// Source columns are contiguous: every column of `rows` elements is copied.
static void pack_copy(const PackArgs& p) {
  const int64_t whole = p.rows / kWidth * kWidth;
  const int tail = int(p.rows - whole);
  for (int64_t j = 0; j < p.columns; ++j) {
    const float* src = p.src + j * p.column_stride;
    const int64_t at = place_of(p, j);
    for (int64_t t = 0; t < p.copies; ++t) {
      float* dst = p.dst[t] + at;
      for (int64_t i = 0; i < whole; i += kWidth) store(dst + i, load(src + i));
      if (tail) store_partial(dst + whole, load_partial(src + whole, tail), tail);
    }
  }
}

// Source rows are contiguous: kWidth x kWidth blocks are transposed in registers.
static void pack_transpose(const PackArgs& p) {
  for (int64_t i = 0; i < p.rows; i += kWidth) {
    const int rows = int(p.rows - i < kWidth ? p.rows - i : kWidth);
    for (int64_t j = 0; j < p.columns; j += kWidth) {
      const int columns = int(p.columns - j < kWidth ? p.columns - j : kWidth);
      const float* src = p.src + i * p.row_stride + j;
      f32 block[kWidth];
      for (int r = 0; r < kWidth; ++r)
        block[r] = r >= rows ? zero() : columns == kWidth ? load(src + r * p.row_stride) : load_partial(src + r * p.row_stride, columns);
      transpose(block);
      float lines[kWidth][kWidth];
      for (int c = 0; c < kWidth; ++c) store(lines[c], block[c]);
      for (int c = 0; c < columns; ++c) {
        const f32 line = load(lines[c]);
        const int64_t at = place_of(p, j + c) + i;
        if (rows == kWidth)
          for (int64_t t = 0; t < p.copies; ++t) store(p.dst[t] + at, line);
        else
          for (int64_t t = 0; t < p.copies; ++t) store_partial(p.dst[t] + at, line, rows);
      }
    }
  }
}

static void pack_strided(const PackArgs& p) {
  for (int64_t j = 0; j < p.columns; ++j) {
    const int64_t at = place_of(p, j);
    for (int64_t i = 0; i < p.rows; ++i) {
      const float value = p.src[i * p.row_stride + j * p.column_stride];
      for (int64_t t = 0; t < p.copies; ++t) p.dst[t][at + i] = value;
    }
  }
}

static void pack(const PackArgs& p) {
  if (p.row_stride == 1 || p.rows == 1)
    pack_copy(p);
  else if (p.column_stride == 1)
    pack_transpose(p);
  else
    pack_strided(p);
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::conv
