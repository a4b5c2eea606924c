// fft/kernels.hpp -- what the transform kernels of one ISA offer, and the plain structs that cross to them
//
// A real row x of N = 2n elements is transformed as the polynomial x(t) modulo t^N + 1, whose factor t^n + i leaves n
// complex numbers: z_j = x_j - i x_{j+n}. Every pass splits blocks t^m - c into r blocks t^(m/r) - c_p, the c_p being
// the r-th roots of c, until blocks have length one: the values of x at the n roots of t^n = -i. Products of such
// values belong to products of polynomials modulo t^N + 1, so a convolution that fits N is exact. What that buys over
// a cyclic transform of half length: no pass that separates two real halves, none that twists; a row padded with as
// many zeros costs no more than n real numbers; roots are constant over a block, so that they stay in registers.
//
// Lanes: the first pass has radix W, the number of lanes, over elements j, j + m, ..., j + (W - 1) m with m = n / W. It
// turns W x W squares, so that lane l of vector j holds element j of block l. All later passes are passes over whole
// vectors. Spectra stay in the order in which the passes leave them.
#pragma once

#include <cstdint>

#include "omniconv/options.hpp"

namespace omniconv::fft {

constexpr int kMaxStages = 32;

// One complex vector is W real parts, then W imaginary parts.
template <class T>
struct Stage {
  int radix;       // 2, 3, 4 or 5
  int64_t length;  // complex vectors of a block before it is split
  const T* roots;  // [block][radix - 1] complex vectors
};

template <class T>
struct Transform {
  int64_t points;   // n, a multiple of W * W
  int64_t vectors;  // n / W
  int stages;       // at least 1; the last one has blocks of `radix` vectors
  Stage<T> stage[kMaxStages];
  const T* top;  // roots of the first pass: node i of the binary tree below node 1, (re, im)
};

// A row of numbers, and what each is multiplied by (null: nothing).
template <class T>
struct Source {
  const T* data;
  const T* gate;
  int64_t size;           // elements of the row
  int64_t first;          // element that position 0 of the transform holds; those outside of the row are zero,
  int64_t before, after;  // but for so many on each side (at most a row), which are those of the other end
};

// Arrays of the pass to come, `count` elements each, to be fetched while this pass runs. The first and the last pass
// walk W streams at once, which defeats the prefetching of hardware: a row that comes from memory took twice the time
// of its arithmetic.
template <class T>
struct Touch {
  const T* read[2];  // null: nothing
  const T* write;
  int64_t count;
};

// Columns [begin, end) of the first pass, in units of W.
template <class T>
struct LoadArgs {
  const Transform<T>* transform;
  Source<T> source;
  T* z;
  int64_t begin, end;
  Touch<T> touch{};
};

// y[o] = post[o] * activation(conv[o] + skip * v[o] + bias), v = u * pre, for the outputs [first, last) of the row.
template <class T>
struct StoreArgs {
  const Transform<T>* transform;
  const T* z;
  int64_t begin, end;
  int64_t first, last;
  int64_t shift;  // output o is at position o + shift of the transform
  T* y;
  const T* post;
  T* y2;  // null, or post2 * (conv + skip * v + bias)
  const T* post2;
  const T* u;  // null: no skip term
  const T* pre;
  T skip, bias;
  Activation activation;  // none for float64
  T negative_slope;
  Touch<T> touch{};
};

// Vectors that a block of `direct` works on at a time; so many lie past the end of its window.
constexpr int kDirectVectors = 8;

// Outputs [out.first, out.last) of a row as sums of products: y[o] over j < taps of lags[j] * v[o - j], where element
// out.first - taps + 1 of v is element source.first of the row. `out` has neither transform nor z.
template <class T>
struct DirectArgs {
  Source<T> source;
  const T* lags;
  int64_t taps;
  T* room;  // direct_room(out.last - out.first, taps, lanes) elements
  StoreArgs<T> out;
};
inline int64_t direct_room(int64_t outputs, int64_t taps, int lanes) {
  return (outputs + taps - 1 + kDirectVectors * lanes + lanes - 1) / lanes * lanes;
}

// sums[j] += the sum over i < count of x[i] * v[i - j], v as above with outputs [0, count).
template <class T>
struct DirectTapsArgs {
  Source<T> source, x;
  int64_t count, taps;
  T *room, *x_room;  // of direct_room each
  T* sums;
};

constexpr int kMaxHalfBandTaps = 64;
constexpr int64_t kHalfBandBlock = 1024;  // positions that `halve` works on at a time: 9 KiB of float32
constexpr int kHalfBandVectors = 4;       // in registers at a time: chains enough to hide the latency of the sums

// x[p] = row[2 p] / 2 + sum over j < taps of tap[j] * (row[2 p - 2 j - 1] + row[2 p + 2 j + 1]), p in [begin, end) and
// on to a whole number of kHalfBandVectors.
template <class T>
struct HalveArgs {
  Source<T> source;  // position 0 of the row is its element `first`
  const T* tap;
  int taps;
  int64_t begin, end;
  T* x;
  Touch<T> touch{};  // what lies at 2 p, while p is worked on; so in TwiceArgs::out
};
// row[2 p] = x[p] and row[2 p + 1] = 2 sum over j < taps of tap[j] * (x[p - j] + x[p + j + 1]), p in [begin, end), go
// on as conv in `out`, which has neither transform nor z.
template <class T>
struct TwiceArgs {
  const T* x;
  const T* tap;
  int taps;
  int64_t begin, end;
  StoreArgs<T> out;
};

// Blocks [begin, end) of a stage, and all stages below. Addresses are those of the whole transform.
template <class T>
struct SpectrumArgs {
  const Transform<T>* transform;
  T* z;
  const T* spectrum;
  int stage;
  int64_t begin, end;
  T* other = nullptr;  // a transform beside that of z; see Kernels
  T* sum = nullptr;
};

// The step back through y = post * activation(s), s = conv + skip * v + bias, over one row; v = u * pre.
template <class T>
struct EpilogueArgs {
  int64_t count;
  const T *s, *grad, *post;  // s and post may be null where they are not used, or nothing is multiplied
  T *ds, *dpost;             // null: not wanted; ds may be s
  const T *u, *pre;          // for dskip
  Activation activation;
  T negative_slope;
  double *dskip, *dbias;  // null, or set to the sums over the row
};

template <class T>
struct Kernels {
  int lanes;
  void (*load)(const LoadArgs<T>&);
  void (*store)(const StoreArgs<T>&);
  void (*convolve)(const SpectrumArgs<T>&);  // forward, product with the spectrum, inverse
  void (*forward)(const SpectrumArgs<T>&);   // spectrum is not read
  void (*inverse)(const SpectrumArgs<T>&);
  void (*convolve_keep)(const SpectrumArgs<T>&);     // as convolve, and leaves the transform of z in `other`
  void (*convolve_conj)(const SpectrumArgs<T>&);     // the product is that with the conjugate of the spectrum
  void (*backward)(const SpectrumArgs<T>&);          // as convolve_conj, and sum += transform of z * conj(other)
  void (*backward_adjoint)(const SpectrumArgs<T>&);  // as convolve, and sum += other * conj(transform of z)
  // One block of one stage alone, columns [begin, end) of length / radix: for several threads on one row.
  void (*stage)(const Transform<T>& t, T* z, int stage, int64_t block, int64_t begin, int64_t end, bool inverse);
  void (*correlate)(const T* a, const T* b, T* z, int64_t vectors);  // z += a * conj(b)
  void (*scale)(T* z, int64_t vectors, T factor);
  void (*epilogue)(const EpilogueArgs<T>&);  // float64: without activation
  void (*direct)(const DirectArgs<T>&);
  void (*direct_taps)(const DirectTapsArgs<T>&);
  void (*halve)(const HalveArgs<T>&);
  void (*twice)(const TwiceArgs<T>&);
};

struct AllKernels {
  Kernels<float> f32;
  Kernels<double> f64;
};

const AllKernels& kernels();                    // of the current ISA
const AllKernels& kernels_of_width(int lanes);  // of the ISA whose vectors hold so many floats

template <class T>
const Kernels<T>& kernels_of(const AllKernels& all) {
  if constexpr (sizeof(T) == 4)
    return all.f32;
  else
    return all.f64;
}

#define OMNICONV_FFT_ISA(isa)      \
  namespace isa {                  \
  const AllKernels& fft_kernels(); \
  }
OMNICONV_FFT_ISA(scalar)
OMNICONV_FFT_ISA(neon)
OMNICONV_FFT_ISA(avx2)
OMNICONV_FFT_ISA(avx512)
#undef OMNICONV_FFT_ISA

}  // namespace omniconv::fft
