// sparse/spikes.inl.hpp -- products of counts by int8 weights, exact, and the additions of events
//
// vpmaddubsw multiplies 32 bytes by 32 bytes and adds neighbours into int16, saturating. With counts to D and weights
// from -128 to 127 the sum of n of its results lies in [-256 D n, 254 D n]: within int16, so that nothing saturates or
// wraps, as long as D n <= 128. Chains are no longer than that; at their end pairs are added to int32. With D = 4 that
// is every 32 steps of four channels: 64 products cost two instructions, where vpmaddwd alone would cost six. `wide`
// takes any byte: even and odd ones as int16, two vpmaddwd. VNNI adds four products to int32 without saturation, in
// one instruction, for both. Registers of AVX2: 8 sums of one output, b from memory, a broadcast, a product. A step is
// 8 products and 8 additions against 9 loads, 5 cycles of Zen 3: 51 products a cycle, where float32 makes 16. Rejected:
// 2 x 4 and 6 x 2, fewer loads a product, but more passes over the pairs; strips of outputs whose sums stay in L1,
// which fetch the weights again for each; an unrolled loop. AVX-512 takes four outputs of four vectors.
//
// Events: the rows of weights of two channels are interleaved, so that one vpmaddubsw serves both; a block of 64
// columns stays in 8 registers of int16 while the events of a row pass.
#pragma once

#include "simd/vec.hpp"
#include "sparse/spike_kernels.hpp"

namespace omniconv::sparse {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

typedef int8_t s8 __attribute__((vector_size(4 * kWidth)));
typedef int16_t i16 __attribute__((vector_size(4 * kWidth)));
typedef uint32_t u32 __attribute__((vector_size(4 * kWidth)));
typedef int32_t i32_at_byte __attribute__((vector_size(4 * kWidth), aligned(1), may_alias));
typedef int32_t int32_at_byte __attribute__((aligned(1), may_alias));

static OMNICONV_INLINE i32 load_bytes(const int8_t* p) { return (i32) * reinterpret_cast<const i32_at_byte*>(p); }

#if defined(__AVX512F__)
#define OMNICONV_MADDUBS(a, b) ((i16)_mm512_maddubs_epi16((__m512i)(a), (__m512i)(b)))
#define OMNICONV_MADD(a, b) ((i32)_mm512_madd_epi16((__m512i)(a), (__m512i)(b)))
#define OMNICONV_UNPACK(part, a, b) ((i32)_mm512_unpack##part##_epi8((__m512i)(a), (__m512i)(b)))
#elif defined(OMNICONV_VEC_AVX2)
#define OMNICONV_MADDUBS(a, b) ((i16)_mm256_maddubs_epi16((__m256i)(a), (__m256i)(b)))
#define OMNICONV_MADD(a, b) ((i32)_mm256_madd_epi16((__m256i)(a), (__m256i)(b)))
#define OMNICONV_UNPACK(part, a, b) ((i32)_mm256_unpack##part##_epi8((__m256i)(a), (__m256i)(b)))
#endif

// In a register from here on: loading b for each row again would cost more than the products.
#if defined(OMNICONV_MADD)
#define OMNICONV_KEEP(v) __asm__ volatile("" : "+v"(v))
#else
#define OMNICONV_KEEP(v)
#endif

// Each lane: sum + the four products of bytes, those of a without sign.
struct Wide {
  static OMNICONV_INLINE i32 dot(i32 sum, i32 a, i32 b) {
#if defined(__AVX512VNNI__)
    return (i32)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#elif defined(OMNICONV_MADD)
    const i32 odd = (i32)((i16)b >> 8), even = (i32)((i16)((u32)b << 8) >> 8);
    return sum + OMNICONV_MADD(a & 0x00ff00ff, even) + OMNICONV_MADD((i32)((u32)a >> 8) & 0x00ff00ff, odd);
#else
    for (int k = 0; k < 4; ++k) sum += ((i32)((u32)a >> (8 * k)) & 0xff) * ((i32)((u32)b << (24 - 8 * k)) >> 24);
    return sum;
#endif
  }
  static OMNICONV_INLINE i32 product(i32 a, i32 b) { return dot(i32{}, a, b); }
  static OMNICONV_INLINE i32 widened(i32 sum) { return sum; }
};

#if defined(OMNICONV_MADDUBS) && !defined(__AVX512VNNI__)
struct Narrow {
  static OMNICONV_INLINE i32 dot(i32 sum, i32 a, i32 b) {
    // One product after the other: GCC else computes all of them first, and spills the sums.
    const i16 product = OMNICONV_MADDUBS(a, b);
    __asm__ volatile("vpaddw %1, %0, %0" : "+v"(sum) : "v"(product));
    return sum;
  }
  static OMNICONV_INLINE i32 product(i32 a, i32 b) { return (i32)OMNICONV_MADDUBS(a, b); }
  static OMNICONV_INLINE i32 widened(i32 sum) { return OMNICONV_MADD(sum, broadcast_i32(0x00010001)); }
};
#else
using Narrow = Wide;
#endif

static OMNICONV_INLINE int32_t* row_of(const SpikeSums& to, SparsePair pair) {
  return to.sums + pair.out * to.width + to.shift;
}

constexpr int64_t kAhead = 6;  // pairs: their rows of counts are fetched by then

// One chain: c_i += sum over steps [first, last) of a_i b.
template <class How, int ROWS, int VECTORS>
static OMNICONV_INLINE void add_chain(const uint8_t* const (&a)[ROWS], int32_t* const (&c)[ROWS], const int8_t* b,
                                      int64_t first, int64_t last) {
  i32 acc[ROWS][VECTORS];
  const auto step = [&](int64_t k, auto&& take) __attribute__((always_inline)) {
    i32 bk[VECTORS];
    for (int j = 0; j < VECTORS; ++j) {
      bk[j] = load_bytes(b + (k * VECTORS + j) * 4 * kWidth);
      if constexpr (ROWS > 1) {
        OMNICONV_KEEP(bk[j]);
      }
    }
    for (int i = 0; i < ROWS; ++i) {
      const i32 aik = broadcast_i32(*reinterpret_cast<const int32_at_byte*>(a[i] + 4 * k));
      for (int j = 0; j < VECTORS; ++j) take(acc[i][j], aik, bk[j]);
    }
  };
  step(first, [](i32& sum, i32 x, i32 y) __attribute__((always_inline)) { sum = How::product(x, y); });
  for (int64_t k = first + 1; k < last; ++k)
    step(k, [](i32& sum, i32 x, i32 y) __attribute__((always_inline)) { sum = How::dot(sum, x, y); });
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < VECTORS; ++j) {
      int32_t* at = c[i] + j * kWidth;
      store_i32(at, load_i32(at) + How::widened(acc[i][j]));
    }
}

template <class How, int ROWS, int VECTORS, bool ONE_CHAIN>
static OMNICONV_INLINE void multiply_spikes(const SpikeTileArgs& args, int64_t p) {
  if constexpr (ROWS > 0) {
    for (; p + ROWS <= args.to.count; p += ROWS) {
      const uint8_t* a[ROWS];
      int32_t* c[ROWS];
      for (int i = 0; i < ROWS; ++i) {
        const SparsePair pair = args.to.pairs[p + i];
        a[i] = args.x + pair.in * args.x_step;
        c[i] = row_of(args.to, pair);
      }
      const int64_t ahead = p + kAhead < args.to.count ? p + kAhead : p;
      prefetch_read(reinterpret_cast<const float*>(args.x + args.to.pairs[ahead].in * args.x_step));
      if constexpr (ONE_CHAIN) {
        add_chain<How, ROWS, VECTORS>(a, c, args.b, 0, args.steps);
      } else {
        for (int64_t first = 0; first < args.steps; first += args.chain)
          add_chain<How, ROWS, VECTORS>(a, c, args.b, first,
                                        args.steps - first < args.chain ? args.steps : first + args.chain);
      }
    }
    multiply_spikes<How, ROWS / 2, VECTORS, ONE_CHAIN>(args, p);
  }
}

template <class How, int ROWS, int VECTORS>
static void spike_tile(const SpikeTileArgs& given) {
  const SpikeTileArgs args = given;  // which no store to the sums can change
  if (args.steps <= args.chain)
    multiply_spikes<How, ROWS, VECTORS, true>(args, 0);
  else
    multiply_spikes<How, ROWS, VECTORS, false>(args, 0);
}

#if defined(OMNICONV_MADDUBS)

static OMNICONV_INLINE void add_widened(int32_t* to, i16 sums) {
  typedef int16_t i16_half __attribute__((vector_size(2 * kWidth)));
  i16_half halves[2];
  __builtin_memcpy(halves, &sums, sizeof sums);
  for (int h = 0; h < 2; ++h)
    store_i32(to + h * kWidth, load_i32(to + h * kWidth) + __builtin_convertvector(halves[h], i32));
}

template <int GROUPS>
static void add_events(const SpikeEventArgs& given) {
  const SpikeEventArgs args = given;
  constexpr int64_t kRow = GROUPS * 4 * kWidth;
  for (int64_t p = 0; p < args.to.count; ++p) {
    const SparsePair pair = args.to.pairs[p];
    const SpikeEvent *e = args.events + args.begin[pair.in], *end = args.events + args.begin[pair.in + 1];
    int32_t* c = row_of(args.to, pair);
    const int64_t ahead = p + kAhead < args.to.count ? p + kAhead : args.to.count - 1;
    prefetch_read(reinterpret_cast<const float*>(args.events + args.begin[args.to.pairs[ahead].in]));
    while (e < end) {
      const SpikeEvent* stop = end - e < args.chain ? end : e + args.chain;
      i16 acc[GROUPS][2];
      for (int g = 0; g < GROUPS; ++g) acc[g][0] = acc[g][1] = i16{};
      for (; e < stop; ++e) {
        const int8_t *first = args.b + e->channel[0] * kRow, *second = args.b + e->channel[1] * kRow;
        const int16_t counts = int16_t(e->count[0] | e->count[1] << 8);
        const i16 count = counts - i16{};
        for (int g = 0; g < GROUPS; ++g) {
          const i32 a = load_bytes(first + g * 4 * kWidth), b = load_bytes(second + g * 4 * kWidth);
          acc[g][0] += OMNICONV_MADDUBS(count, OMNICONV_UNPACK(lo, a, b));
          acc[g][1] += OMNICONV_MADDUBS(count, OMNICONV_UNPACK(hi, a, b));
        }
      }
      for (int g = 0; g < GROUPS; ++g)
        for (int half = 0; half < 2; ++half) add_widened(c + (2 * g + half) * 2 * kWidth, acc[g][half]);
    }
  }
}

#else

template <int GROUPS>
static void add_events(const SpikeEventArgs& given) {
  const SpikeEventArgs args = given;
  constexpr int64_t kRow = GROUPS * 4 * kWidth;
  for (int64_t p = 0; p < args.to.count; ++p) {
    const SparsePair pair = args.to.pairs[p];
    int32_t* c = row_of(args.to, pair);
    for (int64_t e = args.begin[pair.in]; e < args.begin[pair.in + 1]; ++e) {
      const SpikeEvent event = args.events[e];
      const int8_t *first = args.b + event.channel[0] * kRow, *second = args.b + event.channel[1] * kRow;
      for (int64_t j = 0; j < kRow; ++j) c[j] += event.count[0] * first[j] + event.count[1] * second[j];
    }
  }
}

#endif

// The low bytes of n lanes.
static OMNICONV_INLINE void store_bytes(uint8_t* to, i32 v, int n) {
#if defined(__AVX512F__)
  const __m128i bytes = _mm512_maskz_cvtepi32_epi8(0xffff, (__m512i)v);
#elif defined(OMNICONV_VEC_AVX2)
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
  const __m128i bytes = _mm_packus_epi16(words, words);
#else
  typedef uint8_t u8_lanes __attribute__((vector_size(kWidth)));
  const u8_lanes bytes = __builtin_convertvector(v, u8_lanes);
#endif
  if (n == kWidth)
    __builtin_memcpy(to, &bytes, kWidth);
  else
    __builtin_memcpy(to, &bytes, size_t(n));
}

// max(x, 0) is 0 for NaN. Adding 1.5 * 2^23 leaves no place for fractions: what is left was rounded to even.
static OMNICONV_INLINE i32 fired(f32 u, f32 levels, bool half_even) {
  const f32 s = min(max(u, zero()), levels), big = broadcast(12582912.0f);
  return __builtin_convertvector(half_even ? (s + big) - big : s + broadcast(0.5f), i32);
}

static OMNICONV_INLINE f32 load_lanes(const float* p, int n) { return n == kWidth ? load(p) : load_partial(p, n); }

static void finish_spikes(const SpikeFinishArgs& a) {
  const f32 levels = broadcast(a.levels);
  for (int64_t i = 0; i < a.count; i += kWidth) {
    const int n = int(a.count - i < kWidth ? a.count - i : kWidth);
    f32 v = a.sums ? __builtin_convertvector(load_i32(a.sums + i), f32) : load_lanes(a.residual + i, n);
    if (a.scale) v = v * load_lanes(a.scale + i, n);
    if (a.bias) v = v + load_lanes(a.bias + i, n);
    if (a.sums && a.residual) v = v + load_lanes(a.residual + i, n);
    if (a.membrane) n == kWidth ? store(a.membrane + i, v) : store_partial(a.membrane + i, v, n);
    if (a.spikes) store_bytes(a.spikes + i, fired(v, levels, a.half_even), n);
  }
}

template <class How, int ROWS>
static constexpr void fill_tiles(void (*(&table)[9])(const SpikeTileArgs&)) {
  table[1] = spike_tile<How, ROWS, 1>, table[2] = spike_tile<How, ROWS, 2>;
  table[3] = spike_tile<How, ROWS, 3>, table[4] = spike_tile<How, ROWS, 4>;
  if constexpr (kWidth < 16) {  // 64 columns are more than four vectors
    table[5] = spike_tile<How, ROWS, 5>, table[6] = spike_tile<How, ROWS, 6>;
    table[7] = spike_tile<How, ROWS, 7>, table[8] = spike_tile<How, ROWS, 8>;
  }
}

template <int ROWS>
static constexpr SpikeKernels make_spike_kernels() {
  SpikeKernels k{};
  k.lanes = kWidth, k.finish = finish_spikes;
  fill_tiles<Narrow, ROWS>(k.narrow);
  fill_tiles<Wide, ROWS>(k.wide);
  k.events[1] = add_events<1>;
  if constexpr (kWidth <= 8) k.events[2] = add_events<2>;
  if constexpr (kWidth <= 4) k.events[3] = add_events<3>, k.events[4] = add_events<4>;
  return k;
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::sparse
