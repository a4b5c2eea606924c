// fft/direct.inl.hpp -- short kernels: sums of products, lanes across samples
//
// Lags j, j + W, j + 2 W, ... take the same vectors of v to different outputs. So the lags of a chunk are gone through
// by their residue modulo W: kDirectVectors outputs in registers, one load for up to kLagVectors products. Those loads
// mostly cross cache lines, and with one for every product they, not the FMA units, would be what is waited for.
#pragma once

#include "fft/edges.inl.hpp"

namespace omniconv::fft {
namespace OMNICONV_ISA_NS {

// Chunks of so many vectors of lags are summed by themselves, then added up: that also keeps the error of long kernels
// near that of one chunk.
constexpr int kLagVectors = 4;

// Vectors of v that begin at element 0 of the window. Rows that hold it all, and what is read past it, stay in place.
template <class T>
static const T* window_of(const Source<T>& s, int64_t count, T* room) {
  constexpr int64_t W = Lanes<T>::kCount;
  if (!s.gate && s.first >= 0 && s.first + count <= s.size) return s.data + s.first;
  for (int64_t i = 0; i < count; i += W) store(room + i, read(s, s.first + i));
  return room;
}

// Lags [begin, end) and those W, ..., (Q - 1) W after them, onto R vectors of sums; v is where output 0 has its lag 0.
template <class T, int R, int Q>
static OMNICONV_INLINE void add_lags(typename Lanes<T>::Vector* sums, const T* v, const T* lags, int64_t begin,
                                     int64_t end) {
  constexpr int W = Lanes<T>::kCount;
  using V = typename Lanes<T>::Vector;
  for (int64_t j = begin; j < end; ++j) {
    V w[Q];
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) w[q] = broadcast(lags[j + q * W]);
#pragma GCC unroll 16
    for (int i = 1 - Q; i < R; ++i) {
      const V x = load(v - j + i * W);
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q)
        if (i + q >= 0 && i + q < R) sums[i + q] = fma(w[q], x, sums[i + q]);
    }
  }
}

template <class T, int R>
static OMNICONV_INLINE void add_chunk(typename Lanes<T>::Vector* sums, const T* v, const T* lags, int64_t count) {
  constexpr int64_t W = Lanes<T>::kCount;
  const int64_t whole = count / W, rest = count % W;
  const auto some = [&](int64_t rows, int64_t begin, int64_t end) {
    switch (rows) {
      case 0: return;
      case 1: return add_lags<T, R, 1>(sums, v, lags, begin, end);
      case 2: return add_lags<T, R, 2>(sums, v, lags, begin, end);
      case 3: return add_lags<T, R, 3>(sums, v, lags, begin, end);
      default: return add_lags<T, R, 4>(sums, v, lags, begin, end);
    }
  };
  if (rest) some(whole + 1, 0, rest);
  some(whole, rest, W);
}

template <class T, int R>
static __attribute__((noinline)) void direct_block(const T* v, const T* lags, int64_t taps, T* to) {
  constexpr int64_t W = Lanes<T>::kCount, kChunk = kLagVectors * W;
  using V = typename Lanes<T>::Vector;
  V total[R] = {};
  for (int64_t j = 0; j < taps; j += kChunk) {
    V sums[R] = {};
    add_chunk<T, R>(sums, v - j, lags + j, taps - j < kChunk ? taps - j : kChunk);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) total[r] = j ? total[r] + sums[r] : sums[r];
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) store(to + r * W, total[r]);
}

template <class T>
static void direct_rows(const DirectArgs<T>& args) {
  constexpr int64_t W = Lanes<T>::kCount, kBlock = kDirectVectors * W;
  const DirectArgs<T> a = args;  // which no store to y can change
  const int64_t count = a.out.last - a.out.first;
  const T* v = window_of(a.source, count + a.taps - 1 + kBlock, a.room) + a.taps - 1;
  T sums[kBlock];
  for (int64_t at = 0; at < count;) {
    const bool all = count - at > 2 * W;
    if (all)
      direct_block<T, kDirectVectors>(v + at, a.lags, a.taps, sums);
    else
      direct_block<T, 2>(v + at, a.lags, a.taps, sums);
    const int64_t done = all ? kBlock : 2 * W;
    for (int64_t i = 0; i < done; i += W) write(a.out, a.out.first + at + i, load(sums + i));
    at += done;
  }
}

// The gradients of lags, eight at a time.
template <class T>
static void direct_taps(const DirectTapsArgs<T>& args) {
  constexpr int64_t W = Lanes<T>::kCount;
  constexpr int kLags = 8;
  using V = typename Lanes<T>::Vector;
  const DirectTapsArgs<T> a = args;
  constexpr int64_t kBlock = kDirectVectors * W;
  const T* v = window_of(a.source, a.count + a.taps - 1 + kBlock, a.room) + a.taps - 1;
  const T* x = window_of(a.x, a.count, a.x_room);
  const int64_t whole = a.count / W * W;
  // Elements past the last whole vector one by one: a factor of zero would spread NaN to lags that do not meet it.
  const auto rest = [&](int64_t j) {
    T sum = 0;
    for (int64_t i = whole; i < a.count; ++i) sum += x[i] * v[i - j];
    return sum;
  };
  const auto total = [](V v) {
    T lanes[W], sum = 0;
    store(lanes, v);
    for (T lane : lanes) sum += lane;
    return sum;
  };
  int64_t j = 0;
  for (; j + kLags <= a.taps; j += kLags) {
    V sums[kLags] = {};
    for (int64_t i = 0; i < whole; i += W) {
      const V factor = load(x + i);
#pragma GCC unroll 8
      for (int l = 0; l < kLags; ++l) sums[l] = fma(factor, load(v + i - j - l), sums[l]);
    }
#pragma GCC unroll 8
    for (int l = 0; l < kLags; ++l) a.sums[j + l] += total(sums[l]) + rest(j + l);
  }
  for (; j < a.taps; ++j) {
    V sum{};
    for (int64_t i = 0; i < whole; i += W) sum = fma(load(x + i), load(v + i - j), sum);
    a.sums[j] += total(sum) + rest(j);
  }
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::fft
