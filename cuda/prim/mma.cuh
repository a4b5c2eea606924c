// prim/mma.cuh -- tensor cores: numbers they take, ldmatrix, mma.sync, and where the elements of a fragment sit
//
// Lane l of a warp is group g = l / 4, member m = l % 4 of it (PTX ISA, "Matrix Fragments for mma.m16n8k16" and
// "...m16n8k8"). A fragment register holds two 16-bit numbers, the lower half first, or one TF32 number.
#pragma once

#include "prim/shared.cuh"

namespace omniconv::prim {

// ---- numbers
// -----------------------------------------------------------------------------------------------------------

using Bf16 = uint16_t;  // the upper half of a float32
using Half = uint16_t;  // IEEE binary16; a kernel knows which of the two it means

// To nearest, ties to even; a NaN stays one.
__device__ inline Bf16 to_bf16(float value) {
#if OMNICONV_EMULATED
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if (value != value) return 0x7fff;
  return Bf16((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#else
  Bf16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result) : "f"(value));
  return result;
#endif
}

__device__ inline float from_bf16(Bf16 value) {
#if OMNICONV_EMULATED
  const uint32_t bits = uint32_t(value) << 16;
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
#else
  return __uint_as_float(unsigned(value) << 16);
#endif
}

__device__ inline Half to_half(float value) {
#if OMNICONV_EMULATED
  const _Float16 half = _Float16(value);
  Half result;
  std::memcpy(&result, &half, 2);
  return result;
#else
  Half result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result) : "f"(value));
  return result;
#endif
}

__device__ inline float from_half(Half value) {
#if OMNICONV_EMULATED
  _Float16 half;
  std::memcpy(&half, &value, 2);
  return float(half);
#else
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value));
  return result;
#endif
}

// A float32 with 10 bits of mantissa, as its bits: to nearest, ties away from zero.
__device__ inline uint32_t to_tf32(float value) {
#if OMNICONV_EMULATED
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value != value ? 0x7fffffffu : bits;
  return (bits + 0x1000u) & ~0x1fffu;
#else
  uint32_t result;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(result) : "f"(value));
  return result;
#endif
}

__device__ inline float from_tf32(uint32_t bits) {
#if OMNICONV_EMULATED
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
#else
  return __uint_as_float(bits);
#endif
}

__device__ inline uint32_t pack2(uint16_t low, uint16_t high) { return uint32_t(low) | uint32_t(high) << 16; }

// ---- ldmatrix
// ----------------------------------------------------------------------------------------------------------

// kCount (1, 2, 4) matrices of 8 x 8 16-bit numbers. Lane l gives the place of row l % 8 of matrix l / 8, 16 bytes at a
// 16-byte boundary; register i of lane l becomes elements 2 (l % 4), 2 (l % 4) + 1 of row l / 4 of matrix i.
// Transposed: of column l / 4.
template <int kCount, bool kTransposed = false>
__device__ inline void load_matrices(uint32_t (&registers)[kCount], Shared<uint16_t> from, int index,
                                     Site site = Site::current()) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4);
#if OMNICONV_EMULATED
  struct Row {
    uint16_t number[8];
  } row{};
  if (lane() < kCount * 8) {
    const float4 bytes = from.load4(index, site);
    std::memcpy(&row, &bytes, 16);
  }
  const emu::Given given = emu::exchange(kFullMask, &row, sizeof row, site);
  const int g = lane() / 4, m = lane() % 4;
  for (int i = 0; i < kCount; ++i) {
    const auto at = [&](int r, int c) { return given.of<Row>(i * 8 + r).number[c]; };
    registers[i] = kTransposed ? pack2(at(2 * m, g), at(2 * m + 1, g)) : pack2(at(g, 2 * m), at(g, 2 * m + 1));
  }
#else
  (void)site;
  const unsigned at = unsigned(__cvta_generic_to_shared(from.data + index));
  if constexpr (kCount == 4 && kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(at)
                 : "memory");
  else if constexpr (kCount == 4)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(at)
                 : "memory");
  else if constexpr (kCount == 2 && kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(registers[0]), "=r"(registers[1])
                 : "r"(at)
                 : "memory");
  else if constexpr (kCount == 2)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(registers[0]), "=r"(registers[1])
                 : "r"(at)
                 : "memory");
  else if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(registers[0])
                 : "r"(at)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(registers[0]) : "r"(at) : "memory");
#endif
}

// ---- mma
// ---------------------------------------------------------------------------------------------------------------

// c (16 x 8) += a (16 x 16) b (16 x 8) of 16-bit numbers, sums in float32.
//   a, register r, half h: row g + 8 (r % 2), column 2 m + h + 8 (r / 2)
//   b, register r, half h: row 2 m + h + 8 r, column g
//   c, register r:         row g + 8 (r / 2), column 2 m + r % 2
// c (16 x 8) += a (16 x 8) b (8 x 8) of TF32 numbers:
//   a, register r: row g + 8 (r % 2), column m + 4 (r / 2);  b, register r: row m + 4 r, column g;  c as above
enum class Product { bf16, half, tf32 };

template <Product kProduct>
__device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site = Site::current()) {
#if OMNICONV_EMULATED
  struct Fragments {
    uint32_t a[4], b[2];
  } mine;
  std::memcpy(mine.a, a, sizeof a);
  std::memcpy(mine.b, b, sizeof b);
  const emu::Given given = emu::exchange(kFullMask, &mine, sizeof mine, site);
  constexpr int kDepth = kProduct == Product::tf32 ? 8 : 16;
  const auto number = [](uint32_t word, int half) {
    if (kProduct == Product::tf32) return from_tf32(word & ~0x1fffu);  // the lower bits are ignored
    const uint16_t bits = uint16_t(word >> (16 * half));
    return kProduct == Product::bf16 ? from_bf16(bits) : from_half(bits);
  };
  const int g = lane() / 4, m = lane() % 4;
  for (int r = 0; r < 4; ++r) {
    const int row = g + 8 * (r / 2), column = 2 * m + r % 2;
    // Exact products in one wide sum: hardware keeps a few bits less, so results are compared within a tolerance.
    double sum = c[r];
    for (int k = 0; k < kDepth; ++k) {
      float x, y;
      if (kProduct == Product::tf32) {
        x = number(given.of<Fragments>(row % 8 * 4 + k % 4).a[row / 8 + 2 * (k / 4)], 0);
        y = number(given.of<Fragments>(column * 4 + k % 4).b[k / 4], 0);
      } else {
        x = number(given.of<Fragments>(row % 8 * 4 + k % 8 / 2).a[row / 8 + 2 * (k / 8)], k % 2);
        y = number(given.of<Fragments>(column * 4 + k % 8 / 2).b[k / 8], k % 2);
      }
      sum += double(x) * double(y);
    }
    c[r] = float(sum);
  }
#else
  (void)site;
  if constexpr (kProduct == Product::bf16)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else if constexpr (kProduct == Product::half)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

}  // namespace omniconv::prim
