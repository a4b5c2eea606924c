// conv/finish.inl.hpp -- epilogue and store: a finished block of sums becomes output
//
// NHWC (channels contiguous) is written as it lies; NCHW (pixels contiguous) goes through the in-register transpose,
// so neither layout pays a reorder in memory. Any other layout is written lane by lane.
#pragma once

#include "conv/kernels.hpp"
#include "simd/math.hpp"
#include "simd/vec.hpp"

namespace omniconv::conv {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

template <Activation A>
static OMNICONV_INLINE f32 activate(f32 x, float slope) {
  if constexpr (A == Activation::relu) return relu(x);
  if constexpr (A == Activation::relu6) return relu6(x);
  if constexpr (A == Activation::leaky_relu) return leaky_relu(x, slope);
  if constexpr (A == Activation::silu) return silu(x);
  if constexpr (A == Activation::gelu) return gelu(x);
  if constexpr (A == Activation::gelu_tanh) return gelu_tanh(x);
  if constexpr (A == Activation::quick_gelu) return quick_gelu(x);
  if constexpr (A == Activation::hardswish) return hardswish(x);
  if constexpr (A == Activation::sigmoid) return sigmoid(x);
  if constexpr (A == Activation::tanh) return tanh(x);
  return x;
}

static OMNICONV_INLINE f32 load_strided(const float* p, int64_t stride, int n) {
  if (stride == 1) return n == kWidth ? load(p) : load_partial(p, n);
  float lanes[kWidth] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i * stride];
  return load(lanes);
}

static OMNICONV_INLINE void store_strided(float* p, int64_t stride, f32 v, int n) {
  if (stride == 1) {
    if (n == kWidth)
      store(p, v);
    else
      store_partial(p, v, n);
    return;
  }
  float lanes[kWidth];
  store(lanes, v);
  for (int i = 0; i < n; ++i) p[i * stride] = lanes[i];
}

// Lanes are channels.
template <Activation A>
static void finish_by_channel(const FinishArgs& a) {
  for (int64_t j = 0; j < a.channels; j += kWidth) {
    const int n = int(a.channels - j < kWidth ? a.channels - j : kWidth);
    const f32 scale = a.scale ? load_partial(a.scale + j, n) : broadcast(1.0f);
    const f32 bias = a.bias ? load_partial(a.bias + j, n) : zero();
    for (int64_t p = 0; p < a.pixels; ++p) {
      f32 v = load(a.c + p * a.panel + j);
      if (a.scale) v = v * scale;
      if (a.bias) v = v + bias;
      if (a.residual) v = v + load_strided(a.residual + p * a.r_pixel + j * a.r_channel, a.r_channel, n);
      store_strided(a.y + p * a.y_pixel + j * a.y_channel, a.y_channel, activate<A>(v, a.negative_slope), n);
    }
  }
}

// One block of pixels [p, p + n) and channels [j, j + channels), transposed: lanes are pixels.
template <Activation A, bool FULL>
static OMNICONV_INLINE void finish_block(const FinishArgs& a, int64_t p, int n, int64_t j, int channels) {
  f32 block[kWidth];
#pragma GCC unroll 16
  for (int r = 0; r < kWidth; ++r) block[r] = FULL || r < n ? load(a.c + (p + r) * a.panel + j) : zero();
  transpose(block);
#pragma GCC unroll 16
  for (int c = 0; c < kWidth; ++c) {
    if (!FULL && c >= channels) break;
    f32 v = block[c];
    if (a.scale) v = v * broadcast(a.scale[j + c]);
    if (a.bias) v = v + broadcast(a.bias[j + c]);
    if (a.residual) v = v + load_strided(a.residual + p * a.r_pixel + (j + c) * a.r_channel, a.r_pixel, n);
    v = activate<A>(v, a.negative_slope);
    float* y = a.y + p + (j + c) * a.y_channel;
    if (FULL || n == kWidth)
      store(y, v);
    else
      store_partial(y, v, n);
  }
}

template <Activation A>
static void finish_by_pixel(const FinishArgs& a) {
  for (int64_t j = 0; j < a.channels; j += kWidth) {
    const int channels = int(a.channels - j < kWidth ? a.channels - j : kWidth);
    for (int64_t p = 0; p < a.pixels; p += kWidth) {
      const int n = int(a.pixels - p < kWidth ? a.pixels - p : kWidth);
      // An activation unrolled sixteen times would only fill the instruction cache.
      if (A == Activation::none && n == kWidth && channels == kWidth)
        finish_block<A, true>(a, p, kWidth, j, kWidth);
      else
        finish_block<A, false>(a, p, n, j, channels);
    }
  }
}

template <Activation A>
static void finish_as(const FinishArgs& a) {
  if (a.y_pixel == 1 && a.y_channel != 1)
    finish_by_pixel<A>(a);
  else
    finish_by_channel<A>(a);
}

// body.operator()<A>() for the A that is `activation`.
template <class Body>
static OMNICONV_INLINE void with_activation(Activation activation, Body&& body) {
  switch (activation) {
    case Activation::none: return body.template operator()<Activation::none>();
    case Activation::relu: return body.template operator()<Activation::relu>();
    case Activation::relu6: return body.template operator()<Activation::relu6>();
    case Activation::leaky_relu: return body.template operator()<Activation::leaky_relu>();
    case Activation::silu: return body.template operator()<Activation::silu>();
    case Activation::gelu: return body.template operator()<Activation::gelu>();
    case Activation::gelu_tanh: return body.template operator()<Activation::gelu_tanh>();
    case Activation::quick_gelu: return body.template operator()<Activation::quick_gelu>();
    case Activation::hardswish: return body.template operator()<Activation::hardswish>();
    case Activation::sigmoid: return body.template operator()<Activation::sigmoid>();
    case Activation::tanh: return body.template operator()<Activation::tanh>();
  }
}

static void finish(const FinishArgs& a) {
  with_activation(a.activation, [&]<Activation A>() { finish_as<A>(a); });
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::conv
