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

template <class Element>
static OMNICONV_INLINE int64_t place_of(const PackArgsOf<Element>& p, int64_t column) {
  return p.place ? p.place[column] : column * p.dst_stride;
}

// Null stands for a row of zeros.
template <class Element>
static OMNICONV_INLINE const float* row_of(const PackArgsOf<Element>& p, int64_t row) {
  if (!p.row_sources) return p.src + row * p.row_stride + p.shift;
  return p.row_sources[row] ? p.row_sources[row] + p.shift : nullptr;
}

// How the first n lanes of a vector are stored as so many elements; Store<Part> is in split.inl.hpp.
template <class Element>
struct Store;
template <>
struct Store<float> {
  static OMNICONV_INLINE void put(const PackArgs&, float* at, f32 v, int n, uint32_t&) {
    if (n == kWidth)
      store(at, v);
    else
      store_partial(at, v, n);
  }
};

// Source columns are contiguous: every column of `rows` elements is copied.
template <class Element>
static void pack_copy(const PackArgsOf<Element>& p, uint32_t& unusual) {
  const int64_t whole = p.rows / kWidth * kWidth;
  const int tail = int(p.rows - whole);
  for (int64_t j = 0; j < p.columns; ++j) {
    const float* src = p.src + p.shift + j * p.column_stride;
    const int64_t at = place_of(p, j);
    for (int64_t t = 0; t < p.copies; ++t) {
      Element* dst = p.dst[t] + at;
      for (int64_t i = 0; i < whole; i += kWidth) Store<Element>::put(p, dst + i, load(src + i), kWidth, unusual);
      if (tail) Store<Element>::put(p, dst + whole, load_partial(src + whole, tail), tail, unusual);
    }
  }
}

// Every second element of a row. Nothing behind the last is read.
static OMNICONV_INLINE f32 load_every_second(const float* src, int n) {
  const int floats = 2 * n - 1;
  const f32 low = floats >= kWidth ? load(src) : load_partial(src, floats);
  return even_lanes(low, floats > kWidth ? load_partial(src + kWidth, floats - kWidth) : zero());
}

// The same of source columns whose rows are two elements apart.
template <class Element>
static void pack_copy_every_second(const PackArgsOf<Element>& p, uint32_t& unusual) {
  for (int64_t j = 0; j < p.columns; ++j) {
    const float* src = p.src + p.shift + j * p.column_stride;
    const int64_t at = place_of(p, j);
    for (int64_t i = 0; i < p.rows; i += kWidth) {
      const int n = int(p.rows - i < kWidth ? p.rows - i : kWidth);
      const f32 v = load_every_second(src + 2 * i, n);
      for (int64_t t = 0; t < p.copies; ++t) Store<Element>::put(p, p.dst[t] + at + i, v, n, unusual);
    }
  }
}

// One block of rows [i, i + rows) and columns [j, j + columns). FULL: kWidth of both, without a test per line.
template <int STEP, bool FULL, class Element>
static OMNICONV_INLINE void transpose_block(const PackArgsOf<Element>& p, int64_t i, int rows, int64_t j, int columns,
                                            uint32_t& unusual) {
  f32 block[kWidth];
#pragma GCC unroll 16
  for (int r = 0; r < kWidth; ++r) {
    const float* src = FULL || r < rows ? row_of(p, i + r) : nullptr;
    if (p.ahead && src) prefetch_read(src + STEP * j + p.ahead);
    if (STEP == 2)
      block[r] = src ? load_every_second(src + 2 * j, columns) : zero();
    else
      block[r] = !src ? zero() : FULL || columns == kWidth ? load(src + j) : load_partial(src + j, columns);
  }
  transpose(block);
#pragma GCC unroll 16
  for (int c = 0; c < kWidth; ++c) {
    if (!FULL && c >= columns) break;
    const int64_t at = place_of(p, j + c) + i;
    for (int64_t t = 0; t < p.copies; ++t)
      Store<Element>::put(p, p.dst[t] + at, block[c], FULL ? kWidth : rows, unusual);
  }
}

// Source columns are STEP apart, 1 or 2: kWidth x kWidth blocks are transposed in registers.
template <int STEP, class Element>
static void pack_transpose(const PackArgsOf<Element>& p, uint32_t& unusual) {
  for (int64_t i = 0; i < p.rows; i += kWidth) {
    const int rows = int(p.rows - i < kWidth ? p.rows - i : kWidth);
    for (int64_t j = 0; j < p.columns; j += kWidth) {
      const int columns = int(p.columns - j < kWidth ? p.columns - j : kWidth);
      if (rows == kWidth && columns == kWidth)
        transpose_block<STEP, true>(p, i, kWidth, j, kWidth, unusual);
      else
        transpose_block<STEP, false>(p, i, rows, j, columns, unusual);
    }
  }
}

template <class Element>
static void pack_strided(const PackArgsOf<Element>& p, uint32_t& unusual) {
  for (int64_t i = 0; i < p.rows; ++i) {
    const float* src = row_of(p, i);
    for (int64_t j = 0; j < p.columns; ++j) {
      const f32 value = broadcast(src ? src[j * p.column_stride] : 0.0f);
      const int64_t at = place_of(p, j) + i;
      for (int64_t t = 0; t < p.copies; ++t) Store<Element>::put(p, p.dst[t] + at, value, 1, unusual);
    }
  }
}

template <class Element>
static void pack(const PackArgsOf<Element>& p) {
  uint32_t unusual = 0;
  if (!p.row_sources && (p.row_stride == 1 || p.rows == 1))
    pack_copy(p, unusual);
  else if (p.column_stride == 1)
    pack_transpose<1>(p, unusual);
  else if (!p.row_sources && p.row_stride == 2)
    pack_copy_every_second(p, unusual);
  else if (p.column_stride == 2)
    pack_transpose<2>(p, unusual);
  else
    pack_strided(p, unusual);
  if (p.unusual) *p.unusual |= unusual;
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::conv
