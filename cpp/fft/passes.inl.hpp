// fft/passes.inl.hpp -- the passes over whole vectors, depth first, and the product with a spectrum between them
//
// A radix-4 step takes 24 fused operations forward and 28 back for 8 loads and 8 stores of vectors: two levels of a
// transform of n points cost 13 n / W operations both ways, 6.5 n / W cycles of one core with two FMA units. Stores
// (one a cycle) come second. Sixteen registers hold eight numbers, four or six roots, and a temporary.
#pragma once

#include "fft/kernels.hpp"
#include "fft/lanes.inl.hpp"

namespace omniconv::fft {
namespace OMNICONV_ISA_NS {

// A block of this many bytes runs through all its passes before the next: half of an L1 cache of 32 KiB, the other half
// is for spectrum and roots, which stream through.
constexpr int64_t kCacheBytes = 16384;

constexpr int kMaxRadix = 5;

// ---- butterflies: `x` are the r elements of one column, `w` the r - 1 roots of its block ----

template <class T, int R>
struct Butterfly;

template <class T>
struct Butterfly<T, 2> {
  static OMNICONV_INLINE void forward(Complex<T>* x, const Complex<T>* w) { split(x[0], x[1], w[0]); }
  static OMNICONV_INLINE void inverse(Complex<T>* x, const Complex<T>* w) { merge(x[0], x[1], w[0]); }
};

// w: the square root s1 of c, the square root s2 of s1, and s1 s2. Children in the order s2, -s2, -i s2, i s2.
template <class T>
struct Butterfly<T, 4> {
  static OMNICONV_INLINE void forward(Complex<T>* x, const Complex<T>* w) {
    split(x[0], x[2], w[0]);
    split(x[1], x[3], w[0]);
    split(x[0], x[1], w[1]);
    split_minus_i(x[2], x[3], w[1]);
  }
  static OMNICONV_INLINE void inverse(Complex<T>* x, const Complex<T>* w) {
    const Complex<T> a = x[0] + x[1], b = x[0] - x[1], c = x[2] + x[3], d = times_i(x[2] - x[3]);
    x[0] = a + c;
    x[1] = times_conj(b + d, w[1]);
    x[2] = times_conj(a - c, w[0]);
    x[3] = times_conj(b - d, w[2]);
  }
};

template <class T>
static OMNICONV_INLINE Complex<T> plus_scaled(Complex<T> a, Complex<T> b, double factor) {
  const auto f = broadcast(T(factor));
  return {fma(f, b.re, a.re), fma(f, b.im, a.im)};
}
template <class T>
static OMNICONV_INLINE Complex<T> scaled(Complex<T> a, double factor) {
  const auto f = broadcast(T(factor));
  return {f * a.re, f * a.im};
}

constexpr double kSin3 = 0.866025403784438646763723170752936183;  // sin(2 pi / 3)
constexpr double kCos5[2] = {0.309016994374947424102293417182819059, -0.809016994374947424102293417182819059};
constexpr double kSin5[2] = {0.951056516295153572116439333379382143, 0.587785252292473129168705954639072769};

// w: s and s^2 with s^3 = c. Children in the order s, s exp(-2 pi i / 3), s exp(-4 pi i / 3).
template <class T>
struct Butterfly<T, 3> {
  static OMNICONV_INLINE void dft(Complex<T>* x, bool inverse) {
    const Complex<T> sum = x[1] + x[2], difference = scaled(x[1] - x[2], inverse ? kSin3 : -kSin3);
    const Complex<T> middle = plus_scaled(x[0], sum, -0.5), turned = times_i(difference);
    x[0] = x[0] + sum;
    x[1] = middle + turned;
    x[2] = middle - turned;
  }
  static OMNICONV_INLINE void forward(Complex<T>* x, const Complex<T>* w) {
    x[1] = x[1] * w[0];
    x[2] = x[2] * w[1];
    dft(x, false);
  }
  static OMNICONV_INLINE void inverse(Complex<T>* x, const Complex<T>* w) {
    dft(x, true);
    x[1] = times_conj(x[1], w[0]);
    x[2] = times_conj(x[2], w[1]);
  }
};

// w: the first four powers of s, s^5 = c. Children s exp(-2 pi i p / 5).
template <class T>
struct Butterfly<T, 5> {
  static OMNICONV_INLINE void dft(Complex<T>* x, bool inverse) {
    const Complex<T> s1 = x[1] + x[4], s2 = x[2] + x[3], d1 = x[1] - x[4], d2 = x[2] - x[3];
    const Complex<T> m1 = plus_scaled(plus_scaled(x[0], s1, kCos5[0]), s2, kCos5[1]);
    const Complex<T> m2 = plus_scaled(plus_scaled(x[0], s1, kCos5[1]), s2, kCos5[0]);
    const double sign = inverse ? 1 : -1;
    const Complex<T> t1 = times_i(plus_scaled(scaled(d1, sign * kSin5[0]), d2, sign * kSin5[1]));
    const Complex<T> t2 = times_i(plus_scaled(scaled(d1, sign * kSin5[1]), d2, -sign * kSin5[0]));
    x[0] = x[0] + s1 + s2;
    x[1] = m1 + t1;
    x[4] = m1 - t1;
    x[2] = m2 + t2;
    x[3] = m2 - t2;
  }
  static OMNICONV_INLINE void forward(Complex<T>* x, const Complex<T>* w) {
    for (int i = 1; i < 5; ++i) x[i] = x[i] * w[i - 1];
    dft(x, false);
  }
  static OMNICONV_INLINE void inverse(Complex<T>* x, const Complex<T>* w) {
    dft(x, true);
    for (int i = 1; i < 5; ++i) x[i] = times_conj(x[i], w[i - 1]);
  }
};

// ---- one pass over blocks ----

// One radix over `blocks` blocks of `length` vectors; of each block the columns [begin, end) of length / R.
template <class T, int R, bool INVERSE>
static void pass(T* z, const T* roots, int64_t blocks, int64_t length, int64_t begin, int64_t end) {
  constexpr int kStep = 2 * Lanes<T>::kCount;
  const int64_t part = length / R * kStep;
  for (int64_t b = 0; b < blocks; ++b, roots += (R - 1) * kStep, z += length * kStep) {
    Complex<T> w[R - 1];
#pragma GCC unroll 4
    for (int i = 0; i < R - 1; ++i) w[i] = Complex<T>::at(roots + i * kStep);
    for (T* p = z + begin * kStep; p < z + end * kStep; p += kStep) {
      Complex<T> x[R];
#pragma GCC unroll 5
      for (int i = 0; i < R; ++i) x[i] = Complex<T>::at(p + i * part);
      if (INVERSE)
        Butterfly<T, R>::inverse(x, w);
      else
        Butterfly<T, R>::forward(x, w);
#pragma GCC unroll 5
      for (int i = 0; i < R; ++i) x[i].to(p + i * part);
    }
  }
}

template <class T, bool INVERSE>
static void any_pass(T* z, int radix, const T* roots, int64_t blocks, int64_t length, int64_t begin, int64_t end) {
  switch (radix) {
    case 2: return pass<T, 2, INVERSE>(z, roots, blocks, length, begin, end);
    case 3: return pass<T, 3, INVERSE>(z, roots, blocks, length, begin, end);
    case 4: return pass<T, 4, INVERSE>(z, roots, blocks, length, begin, end);
    default: return pass<T, 5, INVERSE>(z, roots, blocks, length, begin, end);
  }
}

// ---- all passes of some blocks ----

enum class Way { convolve, forward, inverse, keep, conj, backward, backward_adjoint };

// What happens to one vector of transforms, vector i of a block: see Kernels.
template <class T, Way WAY>
static OMNICONV_INLINE Complex<T> product(Complex<T> x, const T* spectrum, T* other, T* sum) {
  const Complex<T> k = Complex<T>::at(spectrum);
  if constexpr (WAY == Way::keep) x.to(other);
  if constexpr (WAY == Way::backward) (Complex<T>::at(sum) + times_conj(x, Complex<T>::at(other))).to(sum);
  if constexpr (WAY == Way::backward_adjoint) (Complex<T>::at(sum) + times_conj(Complex<T>::at(other), x)).to(sum);
  return WAY == Way::conj || WAY == Way::backward ? times_conj(x, k) : x * k;
}

// The last pass, the product and the first pass back, while a block is in registers.
template <class T, int R, Way WAY>
static void turn(T* z, const T* spectrum, T* other, T* sum, const T* roots, int64_t blocks) {
  constexpr int kStep = 2 * Lanes<T>::kCount;
  for (int64_t b = 0; b < blocks; ++b, roots += (R - 1) * kStep) {
    Complex<T> w[R - 1], x[R];
#pragma GCC unroll 4
    for (int i = 0; i < R - 1; ++i) w[i] = Complex<T>::at(roots + i * kStep);
#pragma GCC unroll 5
    for (int i = 0; i < R; ++i) x[i] = Complex<T>::at(z + i * kStep);
    Butterfly<T, R>::forward(x, w);
#pragma GCC unroll 5
    for (int i = 0; i < R; ++i) x[i] = product<T, WAY>(x[i], spectrum + i * kStep, other + i * kStep, sum + i * kStep);
    Butterfly<T, R>::inverse(x, w);
#pragma GCC unroll 5
    for (int i = 0; i < R; ++i) x[i].to(z + i * kStep);
    z += R * kStep;
    spectrum += R * kStep;
    if (WAY == Way::keep || WAY == Way::backward || WAY == Way::backward_adjoint) other += R * kStep;
    if (WAY == Way::backward || WAY == Way::backward_adjoint) sum += R * kStep;
  }
}

template <class T, Way WAY>
struct Walk {
  static constexpr int kStep = 2 * Lanes<T>::kCount;
  const Transform<T>& t;
  T* z;
  const T* spectrum;
  T *other, *sum;

  const T* roots(int s, int64_t block) const { return t.stage[s].roots + block * (t.stage[s].radix - 1) * kStep; }
  void split_blocks(int s, int64_t begin, int64_t end) const {
    const Stage<T>& g = t.stage[s];
    if (WAY != Way::inverse)
      any_pass<T, false>(z + begin * g.length * kStep, g.radix, roots(s, begin), end - begin, g.length, 0,
                         g.length / g.radix);
  }
  void merge_blocks(int s, int64_t begin, int64_t end) const {
    const Stage<T>& g = t.stage[s];
    if (WAY != Way::forward)
      any_pass<T, true>(z + begin * g.length * kStep, g.radix, roots(s, begin), end - begin, g.length, 0,
                        g.length / g.radix);
  }
  void turn_blocks(int64_t begin, int64_t end) const {
    const int s = t.stages - 1;
    const Stage<T>& g = t.stage[s];
    if constexpr (WAY == Way::forward || WAY == Way::inverse) {
      split_blocks(s, begin, end);
      merge_blocks(s, begin, end);
    } else {
      const int64_t at = begin * g.length * kStep;
      T *o = other ? other + at : nullptr, *q = sum ? sum + at : nullptr;
      switch (g.radix) {
        case 2: return turn<T, 2, WAY>(z + at, spectrum + at, o, q, roots(s, begin), end - begin);
        case 3: return turn<T, 3, WAY>(z + at, spectrum + at, o, q, roots(s, begin), end - begin);
        case 4: return turn<T, 4, WAY>(z + at, spectrum + at, o, q, roots(s, begin), end - begin);
        default: return turn<T, 5, WAY>(z + at, spectrum + at, o, q, roots(s, begin), end - begin);
      }
    }
  }

  // Blocks [begin, end) of stage s: together where they fit the cache, else one by one, and each one's parts in turn.
  void run(int s, int64_t begin, int64_t end) const {
    const int last = t.stages - 1;
    if (s == last) return turn_blocks(begin, end);
    if ((end - begin) * t.stage[s].length * kStep * int64_t(sizeof(T)) <= kCacheBytes) {
      int64_t from = begin, to = end;
      for (int q = s; q < last; ++q) {
        split_blocks(q, from, to);
        from *= t.stage[q].radix;
        to *= t.stage[q].radix;
      }
      turn_blocks(from, to);
      for (int q = last - 1; q >= s; --q) {
        from /= t.stage[q].radix;
        to /= t.stage[q].radix;
        merge_blocks(q, from, to);
      }
      return;
    }
    for (int64_t b = begin; b < end; ++b) {
      split_blocks(s, b, b + 1);
      run(s + 1, b * t.stage[s].radix, (b + 1) * t.stage[s].radix);
      merge_blocks(s, b, b + 1);
    }
  }
};

template <class T, Way WAY>
static void walk(const SpectrumArgs<T>& a) {
  Walk<T, WAY>{*a.transform, a.z, a.spectrum, a.other, a.sum}.run(a.stage, a.begin, a.end);
}

// One block of one stage, columns [begin, end).
template <class T>
static void stage_columns(const Transform<T>& t, T* z, int stage, int64_t block, int64_t begin, int64_t end,
                          bool inverse) {
  constexpr int kStep = 2 * Lanes<T>::kCount;
  const Stage<T>& g = t.stage[stage];
  const T* roots = g.roots + block * (g.radix - 1) * kStep;
  z += block * g.length * kStep;
  if (inverse)
    any_pass<T, true>(z, g.radix, roots, 1, g.length, begin, end);
  else
    any_pass<T, false>(z, g.radix, roots, 1, g.length, begin, end);
}

template <class T>
static void correlate(const T* a, const T* b, T* z, int64_t vectors) {
  constexpr int kStep = 2 * Lanes<T>::kCount;
  for (int64_t i = 0; i < vectors * kStep; i += kStep)
    (Complex<T>::at(z + i) + times_conj(Complex<T>::at(a + i), Complex<T>::at(b + i))).to(z + i);
}

template <class T>
static void scale(T* z, int64_t vectors, T factor) {
  constexpr int kStep = 2 * Lanes<T>::kCount;
  for (int64_t i = 0; i < vectors * kStep; i += Lanes<T>::kCount) store(z + i, load(z + i) * broadcast(factor));
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::fft
