// fft/edges.inl.hpp -- the first pass with what comes before it, and the last with what comes after
//
// Going in, a row is read where it lies, times its gate; elements outside of it are zeros that are never read. Coming
// out, real parts are outputs from position 0 on and negated imaginary parts those from n on: of the halves that no
// output needs nothing is computed but what the other half shares.
#pragma once

#include "fft/activation.inl.hpp"
#include "fft/passes.inl.hpp"

namespace omniconv::fft {
namespace OMNICONV_ISA_NS {

// Below node `node` of the tree of roots. `top` stands for broadcasts: 2 (W - 1) numbers, one load each.
template <class T, int COUNT>
static OMNICONV_INLINE void top_split(Complex<T>* x, const T* top, int node) {
  if constexpr (COUNT > 1) {
    const Complex<T> w = Complex<T>::all(top + 2 * node);
#pragma GCC unroll 8
    for (int i = 0; i < COUNT / 2; ++i) split(x[i], x[i + COUNT / 2], w);
    top_split<T, COUNT / 2>(x, top, 2 * node);
    top_split<T, COUNT / 2>(x + COUNT / 2, top, 2 * node + 1);
  }
}
template <class T, int COUNT>
static OMNICONV_INLINE void top_merge(Complex<T>* x, const T* top, int node) {
  if constexpr (COUNT > 1) {
    top_merge<T, COUNT / 2>(x, top, 2 * node);
    top_merge<T, COUNT / 2>(x + COUNT / 2, top, 2 * node + 1);
    const Complex<T> w = Complex<T>::all(top + 2 * node);
#pragma GCC unroll 8
    for (int i = 0; i < COUNT / 2; ++i) merge(x[i], x[i + COUNT / 2], w);
  }
}

// Elements [at, at + W) of the row, at its ends or outside of it.
template <class T>
static __attribute__((noinline)) void read_edge(Source<T> s, int64_t at, T* lanes) {
  constexpr int64_t W = Lanes<T>::kCount;
  for (int64_t i = 0; i < W; ++i) {
    int64_t k = at + i;
    lanes[i] = 0;
    if (k < -s.before || k >= s.size + s.after) continue;
    k += k < 0 ? s.size : k >= s.size ? -s.size : 0;
    lanes[i] = s.gate ? s.data[k] * s.gate[k] : s.data[k];
  }
}
template <class T>
static OMNICONV_INLINE typename Lanes<T>::Vector read(const Source<T>& s, int64_t at) {
  constexpr int64_t W = Lanes<T>::kCount;
  if (at >= -s.before && at + W <= 0) at += s.size;
  if (at >= s.size && at + W <= s.size + s.after) at -= s.size;
  if (at >= 0 && at + W <= s.size) {
    const auto v = load(s.data + at);
    return s.gate ? v * load(s.gate + at) : v;
  }
  if (at + W <= -s.before || at >= s.size + s.after) return typename Lanes<T>::Vector{};
  T lanes[W];
  read_edge(Source<T>(s), at, lanes);
  return load(lanes);
}

template <class T>
static OMNICONV_INLINE bool reaches(const Source<T>& s, int64_t begin, int64_t end) {
  return s.first + begin < s.size + s.after && s.first + end > -s.before;
}

static OMNICONV_INLINE void prefetch_line(const void* p) { __builtin_prefetch(p, 0, 3); }

template <class T>
static OMNICONV_INLINE void touch_range(const Touch<T>& t, int64_t begin, int64_t end) {
  constexpr int64_t kLine = 64 / int64_t(sizeof(T));
  if (end > t.count) end = t.count;
  for (int64_t i = begin < 0 ? 0 : begin; i < end; i += kLine) {
    if (t.read[0]) prefetch_line(t.read[0] + i);
    if (t.read[1]) prefetch_line(t.read[1] + i);
    if (t.write) prefetch_write(reinterpret_cast<const float*>(t.write + i));
  }
}
// While columns [j, j + W) are worked on, W * W elements of each array are touched.
template <class T>
static OMNICONV_INLINE void touch_lines(const Touch<T>& t, int64_t j) {
  constexpr int64_t W = Lanes<T>::kCount;
  touch_range(t, j * W, j * W + W * W);
}
// The first pass over columns whose parts are re(q) and im(q), q < W; im is not called where `real`.
template <class T, class Re, class Im>
static OMNICONV_INLINE void split_columns(const Transform<T>& t, bool real, Re&& re, Im&& im, T* z) {
  constexpr int W = Lanes<T>::kCount;
  using V = typename Lanes<T>::Vector;
  Complex<T> x[W];
  if (real) {  // the first level of real numbers: three operations where complex ones take six
    const Complex<T> w = Complex<T>::all(t.top + 2);
#pragma GCC unroll 8
    for (int q = 0; q < W / 2; ++q) {
      const V a = re(q), b = re(q + W / 2), turned = w.im * b;
      x[q] = {fma(w.re, b, a), turned};
      x[q + W / 2] = {fma(-w.re, b, a), -turned};
    }
    top_split<T, W / 2>(x, t.top, 2);
    top_split<T, W / 2>(x + W / 2, t.top, 3);
  } else {
#pragma GCC unroll 16
    for (int q = 0; q < W; ++q) x[q] = {re(q), -im(q)};
    top_split<T, W>(x, t.top, 1);
  }
  V part[W];
#pragma GCC unroll 16
  for (int q = 0; q < W; ++q) part[q] = x[q].re;
  transpose(part);
#pragma GCC unroll 16
  for (int q = 0; q < W; ++q) store(z + q * 2 * W, part[q]);
#pragma GCC unroll 16
  for (int q = 0; q < W; ++q) part[q] = x[q].im;
  transpose(part);
#pragma GCC unroll 16
  for (int q = 0; q < W; ++q) store(z + q * 2 * W + W, part[q]);
}

// Streams that are a power of two apart share sets of the L1 cache. Reading and writing a whole line of each stream at
// a time, by way of a small room, was measured on a Zen 3 and lost by 10 to 30 % at rows of 2^16 and 2^18.
template <class T>
static void load_rows(const LoadArgs<T>& args) {
  constexpr int W = Lanes<T>::kCount;
  const LoadArgs<T> a = args;  // which no store to z can change
  const Transform<T>& t = *a.transform;
  const bool real = !reaches(a.source, t.points, 2 * t.points);
  for (int64_t j = a.begin * W; j < a.end * W; j += W) {
    touch_lines(a.touch, j);
    const int64_t at = a.source.first + j;
    split_columns(
        t, real, [&](int q) { return read(a.source, at + q * t.vectors); },
        [&](int q) { return read(a.source, at + t.points + q * t.vectors); }, a.z + j * 2 * W);
  }
}

// What becomes of a vector of sums: see StoreArgs. Outputs at + [from, to), which is [0, W) where WHOLE.
template <class T, bool WHOLE>
static OMNICONV_INLINE void write_part(const StoreArgs<T>& a, int64_t at, int64_t from, int64_t to,
                                       typename Lanes<T>::Vector v) {
  const auto get = [&](const T* p) { return WHOLE ? load(p + at) : load_some(p + at, from, to); };
  const auto put = [&](T* p, typename Lanes<T>::Vector y) {
    if (WHOLE)
      store(p + at, y);
    else
      store_some<T>(p + at, y, from, to);
  };
  if (a.u) {
    auto x = get(a.u);
    if (a.pre) x = x * get(a.pre);
    v = fma(broadcast(a.skip), x, v);
  }
  v = v + broadcast(a.bias);
  if (a.y2) put(a.y2, a.post2 ? v * get(a.post2) : v);
  if (a.activation != Activation::none) v = activated(a.activation, v, a.negative_slope);
  put(a.y, a.post ? v * get(a.post) : v);
}

// Of outputs [at, at + W) those inside of [first, last).
template <class T>
static __attribute__((noinline)) void write_edge(StoreArgs<T> a, int64_t at, const T* lanes) {
  constexpr int64_t W = Lanes<T>::kCount;
  if (at >= a.last || at + W <= a.first) return;
  const int64_t from = at >= a.first ? 0 : a.first - at, to = at + W <= a.last ? W : a.last - at;
  write_part<T, false>(a, at, from, to, load(lanes));
}
template <class T>
static OMNICONV_INLINE void write(const StoreArgs<T>& a, int64_t at, typename Lanes<T>::Vector v) {
  constexpr int64_t W = Lanes<T>::kCount;
  if (at >= a.first && at + W <= a.last) return write_part<T, true>(a, at, 0, W, v);
  T lanes[W];
  store(lanes, v);
  write_edge(StoreArgs<T>(a), at, lanes);  // a copy: the address of the caller's own is nobody's
}

// The last pass back: put(q, v) takes the vectors of real parts q < W, then, as q + W, the negated imaginary ones.
template <class T, class Put>
static OMNICONV_INLINE void merge_columns(const Transform<T>& t, bool real, bool imaginary, const T* z, Put&& put) {
  constexpr int W = Lanes<T>::kCount;
  using V = typename Lanes<T>::Vector;
  Complex<T> x[W];
  V part[W];
#pragma GCC unroll 16
  for (int q = 0; q < W; ++q) part[q] = load(z + q * 2 * W);
  transpose(part);
#pragma GCC unroll 16
  for (int q = 0; q < W; ++q) x[q].re = part[q];
#pragma GCC unroll 16
  for (int q = 0; q < W; ++q) part[q] = load(z + q * 2 * W + W);
  transpose(part);
#pragma GCC unroll 16
  for (int q = 0; q < W; ++q) x[q].im = part[q];
  top_merge<T, W / 2>(x, t.top, 2);
  top_merge<T, W / 2>(x + W / 2, t.top, 3);
  const Complex<T> w = Complex<T>::all(t.top + 2);
  if (real)
#pragma GCC unroll 8
    for (int q = 0; q < W / 2; ++q) {
      const V re = x[q].re - x[q + W / 2].re, im = x[q].im - x[q + W / 2].im;
      put(q, x[q].re + x[q + W / 2].re);
      put(q + W / 2, fma(re, w.re, im * w.im));
    }
  if (imaginary)
#pragma GCC unroll 8
    for (int q = 0; q < W / 2; ++q) {
      const V re = x[q].re - x[q + W / 2].re, im = x[q].im - x[q + W / 2].im;
      put(q + W, -(x[q].im + x[q + W / 2].im));
      put(q + W / 2 + W, fma(re, w.im, -(im * w.re)));
    }
}

template <class T>
static void store_rows(const StoreArgs<T>& args) {
  constexpr int W = Lanes<T>::kCount;
  const StoreArgs<T> a = args;  // which no store to y can change
  const Transform<T>& t = *a.transform;
  const bool real = a.first + a.shift<t.points, imaginary = a.last + a.shift> t.points;
  for (int64_t j = a.begin * W; j < a.end * W; j += W) {
    touch_lines(a.touch, j);
    // W streams of real parts are points = W * vectors elements: the imaginary ones go on where they end.
    merge_columns(t, real, imaginary, a.z + j * 2 * W,
                  [&](int q, auto v) { write(a, j - a.shift + q * t.vectors, v); });
  }
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::fft
