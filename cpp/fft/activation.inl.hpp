// fft/activation.inl.hpp -- activations, their derivatives, and the step back through gate, activation, skip and bias
#pragma once

#include "fft/kernels.hpp"
#include "fft/lanes.inl.hpp"

namespace omniconv::fft {
namespace OMNICONV_ISA_NS {

// Not inlined: there are as many places that write as there are lanes, and eleven activations.
static __attribute__((noinline)) f32 activated(Activation activation, f32 v, float slope) {
  switch (activation) {
    case Activation::none: return v;
    case Activation::relu: return relu(v);
    case Activation::relu6: return relu6(v);
    case Activation::leaky_relu: return leaky_relu(v, slope);
    case Activation::silu: return silu(v);
    case Activation::gelu: return gelu(v);
    case Activation::gelu_tanh: return gelu_tanh(v);
    case Activation::quick_gelu: return quick_gelu(v);
    case Activation::hardswish: return hardswish(v);
    case Activation::sigmoid: return sigmoid(v);
    case Activation::tanh: return tanh(v);
  }
  return v;
}
static OMNICONV_INLINE f64 activated(Activation, f64 v, double) { return v; }

// At a corner the value that PyTorch takes: that of the left side.
static __attribute__((noinline)) f32 derivative(Activation activation, f32 s, float slope) {
  constexpr float kNormal = 0.398942280401432678f, kRoot = 0.707106781186547524f;  // 1 / sqrt(2 pi), 1 / sqrt(2)
  const f32 one = broadcast(1.0f), none = zero();
  switch (activation) {
    case Activation::none: return one;
    case Activation::relu: return select(s > 0.0f, one, none);
    case Activation::relu6: return select((s > 0.0f) & (s < 6.0f), one, none);
    case Activation::leaky_relu: return select(s > 0.0f, one, broadcast(slope));
    case Activation::silu: {
      const f32 p = sigmoid(s);
      return p * (one + s * (one - p));
    }
    case Activation::gelu: {
      const f32 density = broadcast(kNormal) * exp(s * s * broadcast(-0.5f));
      // Far out s times the density is 0, where s is infinite too.
      const f32 tail = select(density > 0.0f, s * density, none);
      return broadcast(0.5f) * (one + erf(s * broadcast(kRoot))) + tail;
    }
    case Activation::gelu_tanh: {
      const f32 c = broadcast(2 * kNormal), square = s * s, t = tanh(c * s * (one + broadcast(0.044715f) * square));
      const f32 inner = (one - t * t) * c * (one + broadcast(3 * 0.044715f) * square);
      return broadcast(0.5f) * (one + t) + select(inner > 0.0f, broadcast(0.5f) * s * inner, none);
    }
    case Activation::quick_gelu: {
      const f32 x = broadcast(1.702f) * s, p = sigmoid(x);
      return p * (one + x * (one - p));
    }
    case Activation::hardswish: {
      const f32 middle = (broadcast(2.0f) * s + broadcast(3.0f)) * broadcast(1.0f / 6);
      return select(s <= -3.0f, none, select(s < 3.0f, middle, one));
    }
    case Activation::sigmoid: {
      const f32 p = sigmoid(s);
      return p * (one - p);
    }
    case Activation::tanh: {
      const f32 t = tanh(s);
      return one - t * t;
    }
  }
  return one;
}
static OMNICONV_INLINE f64 derivative(Activation, f64, double) { return broadcast(1.0); }

// Sums in float64, one per lane of a float32 vector: two vectors of half as many.
struct Sum {
  f64 low{}, high{};

  OMNICONV_INLINE void add(f64 v) { low = low + v; }
  OMNICONV_INLINE void add(f32 v) {
    typedef float half __attribute__((vector_size(4 * kWidth64)));
    half parts[2];
    __builtin_memcpy(parts, &v, sizeof(v));
    low = low + __builtin_convertvector(parts[0], f64);
    high = high + __builtin_convertvector(parts[1], f64);
  }
  double total() const {
    const f64 both = low + high;
    double sum = 0;
    for (int i = 0; i < kWidth64; ++i) sum += both[i];
    return sum;
  }
};

template <class T>
static void epilogue(const EpilogueArgs<T>& args) {
  constexpr int64_t W = Lanes<T>::kCount;
  using V = typename Lanes<T>::Vector;
  const EpilogueArgs<T> a = args;
  Sum skip, bias;
  const auto some = [&](int64_t at, const auto& get, const auto& put) {
    const V s = a.s ? get(a.s + at) : V{}, grad = get(a.grad + at);
    V d = a.post ? grad * get(a.post + at) : grad;
    if (a.activation != Activation::none) d = d * derivative(a.activation, s, a.negative_slope);
    if (a.dpost) put(a.dpost + at, grad * activated(a.activation, s, a.negative_slope));
    if (a.ds) put(a.ds + at, d);
    if (a.dbias) bias.add(d);
    if (a.dskip) {
      const V u = get(a.u + at);
      skip.add(d * (a.pre ? u * get(a.pre + at) : u));
    }
  };
  int64_t at = 0;
  for (; at + W <= a.count; at += W) some(at, [](const T* p) { return load(p); }, [](T* p, V v) { store(p, v); });
  const int64_t rest = a.count - at;
  if (rest > 0)
    some(at, [&](const T* p) { return load_some(p, 0, rest); }, [&](T* p, V v) { store_some<T>(p, v, 0, rest); });
  if (a.dbias) *a.dbias = bias.total();
  if (a.dskip) *a.dskip = skip.total();
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::fft
