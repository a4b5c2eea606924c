// cpp/simd/vec.hpp -- float32/int32 vectors of the ISA this translation unit is compiled for.
//
// An ISA unit defines OMNICONV_ISA_NS (scalar, avx2, avx512, avx512vnni, amx, neon) before including this file.
// Every function lives in that namespace and is always inlined, so that the linker can never pick the AVX-512
// copy of a function for a caller that runs on AVX2. For the same reason no std template may be used here.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef OMNICONV_ISA_NS
#error "define OMNICONV_ISA_NS before including simd/vec.hpp"
#endif

#define OMNICONV_INLINE inline __attribute__((always_inline))

namespace omniconv {
namespace OMNICONV_ISA_NS {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__) && defined(__FMA__)
#define OMNICONV_VEC_AVX2 1
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif

template <int W>
struct VecF32 {
  typedef float type __attribute__((vector_size(4 * W)));
};
template <int W>
struct VecI32 {
  typedef int32_t type __attribute__((vector_size(4 * W)));
};
using f32 = VecF32<kWidth>::type;
using i32 = VecI32<kWidth>::type;  // also the type of masks: comparing two f32 gives 0 or -1 in each lane

// The types behind unaligned access: aligned(4) and may_alias make a plain dereference legal C++ at any float.
typedef float f32_unaligned __attribute__((vector_size(4 * kWidth), aligned(4), may_alias));
typedef int32_t i32_unaligned __attribute__((vector_size(4 * kWidth), aligned(4), may_alias));

static OMNICONV_INLINE f32 zero() { return f32{}; }
static OMNICONV_INLINE f32 broadcast(float x) { return x - f32{}; }  // x - 0 keeps -0 and NaN, x + 0 would not
static OMNICONV_INLINE i32 broadcast_i32(int32_t x) { return x - i32{}; }
static OMNICONV_INLINE f32 load(const float* p) { return *reinterpret_cast<const f32_unaligned*>(p); }
static OMNICONV_INLINE i32 load_i32(const int32_t* p) { return *reinterpret_cast<const i32_unaligned*>(p); }
static OMNICONV_INLINE void store(float* p, f32 v) { *reinterpret_cast<f32_unaligned*>(p) = v; }
static OMNICONV_INLINE void store_i32(int32_t* p, i32 v) { *reinterpret_cast<i32_unaligned*>(p) = v; }

static OMNICONV_INLINE i32 as_i32(f32 v) { return reinterpret_cast<i32>(v); }
static OMNICONV_INLINE f32 as_f32(i32 v) { return reinterpret_cast<f32>(v); }
static OMNICONV_INLINE f32 select(i32 mask, f32 a, f32 b) { return mask ? a : b; }

static OMNICONV_INLINE i32 lane_index() {
  i32 v{};
  for (int i = 0; i < kWidth; ++i) v[i] = i;
  return v;
}

// a * b + c, fused wherever the ISA can, whatever -ffp-contract says.
static OMNICONV_INLINE f32 fma(f32 a, f32 b, f32 c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(OMNICONV_VEC_AVX2)
  return _mm256_fmadd_ps(a, b, c);
#elif defined(__aarch64__)
  return vfmaq_f32(c, a, b);
#else
  return a * b + c;
#endif
}

// The second operand is returned when either is NaN (and for max(0, -0)): min(limit, x) passes a NaN in x through.
// The maskz forms are the same one instruction; GCC 12 warns about an uninitialised operand inside the plain ones.
static OMNICONV_INLINE f32 min(f32 a, f32 b) {
#if defined(__AVX512F__)
  return _mm512_maskz_min_ps(0xffff, a, b);
#elif defined(OMNICONV_VEC_AVX2)
  return _mm256_min_ps(a, b);
#elif defined(__x86_64__)
  return _mm_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}
static OMNICONV_INLINE f32 max(f32 a, f32 b) {
#if defined(__AVX512F__)
  return _mm512_maskz_max_ps(0xffff, a, b);
#elif defined(OMNICONV_VEC_AVX2)
  return _mm256_max_ps(a, b);
#elif defined(__x86_64__)
  return _mm_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}

static OMNICONV_INLINE f32 abs(f32 v) { return as_f32(as_i32(v) & 0x7fffffff); }

// The first n lanes (0 <= n <= kWidth), the rest zero. Memory past p[n - 1] is never touched.
static OMNICONV_INLINE f32 load_partial(const float* p, int n) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
#elif defined(OMNICONV_VEC_AVX2)
  return _mm256_maskload_ps(p, reinterpret_cast<__m256i>(lane_index() < n));
#else
  f32 v{};
  for (int i = 0; i < kWidth; ++i)  // a fixed trip count unrolls; a loop to n becomes a call of memcpy
    if (i < n) v[i] = p[i];
  return v;
#endif
}
static OMNICONV_INLINE void store_partial(float* p, f32 v, int n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
#elif defined(OMNICONV_VEC_AVX2)
  // Not vmaskmovps: Zen 3 takes 17 cycles for it. n is the same in most calls of a loop, so the branches cost little.
  if (n >= kWidth) return store(p, v);
  __m128 rest = _mm256_castps256_ps128(v);
  if (n & 4) {
    _mm_storeu_ps(p, rest);
    p += 4;
    rest = _mm256_extractf128_ps(v, 1);
  }
  if (n & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
    p += 2;
    rest = _mm_movehl_ps(rest, rest);
  }
  if (n & 1) _mm_store_ss(p, rest);
#else
  for (int i = 0; i < kWidth; ++i)
    if (i < n) p[i] = v[i];
#endif
}

// Non-temporal where p is aligned to the vector, a plain store elsewhere. Non-temporal stores are weakly ordered:
// call stream_fence() after the last one, before another thread may read.
static OMNICONV_INLINE void stream_store(float* p, f32 v) {
  if (reinterpret_cast<uintptr_t>(p) % sizeof(f32) != 0) return store(p, v);
#if defined(__AVX512F__)
  _mm512_stream_ps(p, v);
#elif defined(OMNICONV_VEC_AVX2)
  _mm256_stream_ps(p, v);
#elif defined(__x86_64__)
  _mm_stream_ps(p, v);
#else
  store(p, v);
#endif
}
// A hint: the line of p is wanted soon, for reading or for writing. Any address will do.
static OMNICONV_INLINE void prefetch_read(const float* p) { __builtin_prefetch(p, 0, 3); }
static OMNICONV_INLINE void prefetch_later(const float* p) { __builtin_prefetch(p, 0, 2); }  // into L2 alone
static OMNICONV_INLINE void prefetch_write(const float* p) {
#if defined(__x86_64__)
  __asm__ volatile("prefetchw %0" : : "m"(*p));  // __builtin_prefetch(p, 1) is a plain prefetch without -mprfchw
#else
  __builtin_prefetch(p, 1, 3);
#endif
}
static OMNICONV_INLINE void stream_fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// ---- in-register transpose -------------------------------------------------------------------------------------
// log2(kWidth) stages of kWidth shuffles, each one instruction. The two stages inside 128 bits are the unpacks
// (vunpcklps/vunpcklpd); the stages above move whole 128-bit blocks (vperm2f128, vshuff32x4). The textbook butterfly
// (blend lanes at distance d) would need vpermt2ps and an index register at every stage.

#if defined(__AVX512F__)
static OMNICONV_INLINE f32 unpack_lo32(f32 a, f32 b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
}
static OMNICONV_INLINE f32 unpack_hi32(f32 a, f32 b) {
  return __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
}
static OMNICONV_INLINE f32 unpack_lo64(f32 a, f32 b) {
  return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
}
static OMNICONV_INLINE f32 unpack_hi64(f32 a, f32 b) {
  return __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}
static OMNICONV_INLINE f32 even_blocks(f32 a, f32 b) {
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
}
static OMNICONV_INLINE f32 odd_blocks(f32 a, f32 b) {
  return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}
static OMNICONV_INLINE f32 even_lanes(f32 a, f32 b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}
static OMNICONV_INLINE f32 odd_lanes(f32 a, f32 b) {
  return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}
#elif defined(OMNICONV_VEC_AVX2)
static OMNICONV_INLINE f32 unpack_lo32(f32 a, f32 b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13); }
static OMNICONV_INLINE f32 unpack_hi32(f32 a, f32 b) {
  return __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
}
static OMNICONV_INLINE f32 unpack_lo64(f32 a, f32 b) { return __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13); }
static OMNICONV_INLINE f32 unpack_hi64(f32 a, f32 b) {
  return __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
}
static OMNICONV_INLINE f32 even_blocks(f32 a, f32 b) { return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11); }
static OMNICONV_INLINE f32 odd_blocks(f32 a, f32 b) {
  return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}
// Elements 0, 2, 4, ... and 1, 3, 5, ... of a followed by b.
// Two shuffles each; as one __builtin_shufflevector GCC 12 makes it two permutations and a blend.
static OMNICONV_INLINE f32 even_lanes(f32 a, f32 b) {
  const __m256d halves = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88));  // a0 a2 b0 b2 a4 a6 b4 b6
  return _mm256_castpd_ps(_mm256_permute4x64_pd(halves, 0xd8));
}
static OMNICONV_INLINE f32 odd_lanes(f32 a, f32 b) {
  const __m256d halves = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd));
  return _mm256_castpd_ps(_mm256_permute4x64_pd(halves, 0xd8));
}
#else
static OMNICONV_INLINE f32 even_lanes(f32 a, f32 b) { return __builtin_shufflevector(a, b, 0, 2, 4, 6); }
static OMNICONV_INLINE f32 odd_lanes(f32 a, f32 b) { return __builtin_shufflevector(a, b, 1, 3, 5, 7); }
static OMNICONV_INLINE f32 unpack_lo32(f32 a, f32 b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
static OMNICONV_INLINE f32 unpack_hi32(f32 a, f32 b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
static OMNICONV_INLINE f32 unpack_lo64(f32 a, f32 b) { return __builtin_shufflevector(a, b, 0, 1, 4, 5); }
static OMNICONV_INLINE f32 unpack_hi64(f32 a, f32 b) { return __builtin_shufflevector(a, b, 2, 3, 6, 7); }
#endif

static OMNICONV_INLINE void transpose(f32 (&r)[kWidth]) {
  f32 t[kWidth];
  for (int q = 0; q < kWidth; q += 4) {  // 4x4 inside every 128-bit block: t[q + c] holds column 4 * block + c
    const f32 ab_lo = unpack_lo32(r[q], r[q + 1]), ab_hi = unpack_hi32(r[q], r[q + 1]);
    const f32 cd_lo = unpack_lo32(r[q + 2], r[q + 3]), cd_hi = unpack_hi32(r[q + 2], r[q + 3]);
    t[q] = unpack_lo64(ab_lo, cd_lo);
    t[q + 1] = unpack_hi64(ab_lo, cd_lo);
    t[q + 2] = unpack_lo64(ab_hi, cd_hi);
    t[q + 3] = unpack_hi64(ab_hi, cd_hi);
  }
  for (int c = 0; c < 4; ++c) {  // transpose the blocks: r[4 * block + c] gathers block `block` of t[c], t[4 + c], ...
#if defined(__AVX512F__)
    const f32 e0 = even_blocks(t[c], t[c + 4]), e1 = even_blocks(t[c + 8], t[c + 12]);
    const f32 o0 = odd_blocks(t[c], t[c + 4]), o1 = odd_blocks(t[c + 8], t[c + 12]);
    r[c] = even_blocks(e0, e1);
    r[c + 8] = odd_blocks(e0, e1);
    r[c + 4] = even_blocks(o0, o1);
    r[c + 12] = odd_blocks(o0, o1);
#elif defined(OMNICONV_VEC_AVX2)
    r[c] = even_blocks(t[c], t[c + 4]);
    r[c + 4] = odd_blocks(t[c], t[c + 4]);
#else
    r[c] = t[c];
#endif
  }
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv
