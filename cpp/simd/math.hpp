// cpp/simd/math.hpp -- exp, tanh, erf, sigmoid and the activations on f32 vectors.
//
// Every lane goes through the same instructions, so a value has the same bits in any lane and in any vector. NaN in
// gives NaN out everywhere. Activations are evaluated as they are defined, hence silu, gelu and hardswish of -inf are
// -inf * 0 = NaN as in PyTorch and JAX, while gelu of the largest finite negative numbers is -0.
#pragma once

#include "simd/vec.hpp"

namespace omniconv {
namespace OMNICONV_ISA_NS {

namespace math {

// a * t + b with constants as scalars, the step of every Horner scheme below.
static OMNICONV_INLINE f32 step(f32 a, f32 t, float b) { return fma(a, t, broadcast(b)); }

// x = n ln 2 + r with |r| <= ln 2 / 2, for |x| < 2^21.
struct Reduced {
  f32 n;         // whole number
  i32 exponent;  // the same as integer
  f32 expm1_r;   // e^r - 1
};

static OMNICONV_INLINE Reduced reduce(f32 x) {
  // Adding 1.5 * 2^23 leaves the nearest integer in the low mantissa bits.
  constexpr float kRound = 0x1.8p23f;
  // 15 bits: times a whole number of at most 8 bits the product is exact even without fma.
  constexpr float kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f, kLog2E = 0x1.715476p0f;
  const f32 shifted = step(x, broadcast(kLog2E), kRound);
  const f32 n = shifted - broadcast(kRound);
  f32 r = fma(n, broadcast(-kLn2High), x);
  r = fma(n, broadcast(-kLn2Low), r);
  // e^r = 1 + r + r^2 q(r); q is the minimax fit for relative error of e^r - 1: 2^-26 with these rounded constants.
  f32 q = broadcast(0x1.6d725p-10f);
  q = step(q, r, 0x1.12280ap-7f);
  q = step(q, r, 0x1.5554c8p-5f);
  q = step(q, r, 0x1.5554b0p-3f);
  q = step(q, r, 0.5f);
  return {n, as_i32(shifted) - as_i32(broadcast(kRound)), fma(r * r, q, r)};
}

static OMNICONV_INLINE f32 power_of_two(i32 exponent) { return as_f32((exponent + 127) << 23); }  // normal range only

// v * 2^n, rounded once, for v in [1/2, 2] and n in [-150, 129].
static OMNICONV_INLINE f32 scale(f32 v, const Reduced& x) {
#if defined(__AVX512F__)
  return _mm512_maskz_scalef_ps(0xffff, v, x.n);
#else
  // 2^n itself may be out of range. Two factors of half the exponent are not, and only the second product rounds.
  const i32 half = x.exponent >> 1;
  return v * power_of_two(half) * power_of_two(x.exponent - half);
#endif
}

}  // namespace math

// Largest errors below: measured against long double over every 37th float, in ulp of the result, with fma / without.

// 1.03 / 1.01 ulp, subnormal results included.
static OMNICONV_INLINE f32 exp(f32 x) {
  // Beyond these the result is inf or 0 already; inside them the reduction is exact enough.
  x = max(broadcast(-104.0f), min(broadcast(89.0f), x));
  const math::Reduced reduced = math::reduce(x);
  return math::scale(broadcast(1.0f) + reduced.expm1_r, reduced);
}

// 2.50 / 2.50 ulp. With t = e^(-2|x|) - 1, which the reduction gives without cancellation,
// tanh|x| = -t / (t + 2): one formula for tiny and large x.
static OMNICONV_INLINE f32 tanh(f32 x) {
  const f32 y = max(broadcast(-20.0f), abs(x) * broadcast(-2.0f));  // tanh(10) rounds to 1
  const math::Reduced reduced = math::reduce(y);
  const f32 power = math::power_of_two(reduced.exponent);
  const f32 t = fma(power, reduced.expm1_r, power - broadcast(1.0f));
  const f32 magnitude = (zero() - t) / (broadcast(2.0f) + t);  // not -t: 0 - 0 is +0
  return as_f32(as_i32(magnitude) | (as_i32(x) & as_i32(broadcast(-0.0f))));
}

// 2.32 / 2.32 ulp, subnormal results included. e^-|x| cannot overflow, nor lose the small side.
static OMNICONV_INLINE f32 sigmoid(f32 x) {
  const f32 e = exp(-abs(x));
  return select(x < 0.0f, e, broadcast(1.0f)) / (broadcast(1.0f) + e);
}

namespace math {

// erf(a) / a - 1 in t = a^2, for a < 1: minimax, relative error of erf 2^-29.
static OMNICONV_INLINE f32 erf_near(f32 t) {
  f32 p = broadcast(7.806903e-05f);
  p = step(p, t, -0.0007997853f);
  p = step(p, t, 0.005187162f);
  p = step(p, t, -0.026853347f);
  p = step(p, t, 0.11283579f);
  p = step(p, t, -0.37612626f);
  return step(p, t, 0.12837917f);
}

// erfc(a) = e^-g(a) for a >= 1. g is fitted on [1, 4] for an error of 2^-29 in erf and 2e-6 relative in erfc; above
// 4 it only has to keep growing, which its positive last coefficient sees to.
static OMNICONV_INLINE f32 erfc_far(f32 a) {
  f32 g = broadcast(1.6787992e-05f);
  g = step(g, a, -0.00037583386f);
  g = step(g, a, 0.0038407696f);
  g = step(g, a, -0.02412057f);
  g = step(g, a, 0.10652651f);
  g = step(g, a, 0.6351372f);
  g = step(g, a, 1.1285288f);
  g = step(g, a, 5.182007e-05f);
  return exp(-g);
}

}  // namespace math

// 1.09 / 1.29 ulp.
static OMNICONV_INLINE f32 erf(f32 x) {
  const f32 a = abs(x);
  const f32 near = fma(a, math::erf_near(a * a), a);
  const f32 far = broadcast(1.0f) - math::erfc_far(a);
  const f32 magnitude = select(a < 1.0f, near, far);
  return as_f32(as_i32(magnitude) | (as_i32(x) & as_i32(broadcast(-0.0f))));
}

static OMNICONV_INLINE f32 relu(f32 x) { return max(zero(), x); }
static OMNICONV_INLINE f32 relu6(f32 x) { return min(broadcast(6.0f), max(zero(), x)); }
static OMNICONV_INLINE f32 leaky_relu(f32 x, float alpha) { return select(x > 0.0f, x, x * broadcast(alpha)); }
static OMNICONV_INLINE f32 silu(f32 x) { return x * sigmoid(x); }
static OMNICONV_INLINE f32 quick_gelu(f32 x) { return x * sigmoid(x * broadcast(1.702f)); }
static OMNICONV_INLINE f32 hardswish(f32 x) {
  return x * min(broadcast(6.0f), max(zero(), x + broadcast(3.0f))) * broadcast(1.0f / 6.0f);
}

// x Phi(x), Phi(-t) = erfc(t / sqrt 2) / 2 = 2^(-1 - t q(t)) for t = |x|: one polynomial and one power of two serve
// both sides, 28 operations where erf near zero, erfc beyond and a choice take 50, and the negative tail keeps its
// digits. q is the minimax fit on [0, 5.66] for a relative error of Phi of 4e-8 up to t = 1.45, growing to 1.5e-6;
// beyond, t q(t) only has to grow. Phi below 2^-126 is 0.
static OMNICONV_INLINE f32 gelu(f32 x) {
  constexpr float kRound = 0x1.8p23f;  // as in math::reduce
  const f32 t = abs(x);
  f32 q = broadcast(0x1.b7a2fcp-26f);
  q = math::step(q, t, -0x1.9d4a4ep-21f);
  q = math::step(q, t, 0x1.4dd860p-17f);
  q = math::step(q, t, -0x1.264440p-14f);
  q = math::step(q, t, 0x1.0d3952p-12f);
  q = math::step(q, t, 0x1.a23d4ep-15f);
  q = math::step(q, t, -0x1.cb6b6ap-8f);
  q = math::step(q, t, 0x1.adf516p-5f);
  q = math::step(q, t, 0x1.d63a3ep-2f);
  q = math::step(q, t, 0x1.26aedep+0f);
  const f32 u = min(broadcast(126.0f), t * q);
  const f32 shifted = broadcast(kRound) - u;
  const f32 r = (broadcast(kRound) - shifted) - u;  // -u = n + r, n whole, |r| <= 1/2
  // 2^r, minimax: relative error 2e-9.
  f32 p = broadcast(1.5353361e-04f);
  p = math::step(p, r, 1.3398875e-03f);
  p = math::step(p, r, 9.6184374e-03f);
  p = math::step(p, r, 5.5503325e-02f);
  p = math::step(p, r, 2.4022648e-01f);
  p = math::step(p, r, 6.9314720e-01f);
  p = math::step(p, r, 1.0f);
  const i32 n = as_i32(shifted) - as_i32(broadcast(kRound));
  const f32 tail = p * as_f32((n + 126) << 23);
  return x * select(x < 0.0f, tail, broadcast(1.0f) - tail);
}

// x / 2 (1 + tanh u) with u = sqrt(2 / pi) (x + 0.044715 x^3), written as x sigmoid(2 u): nothing cancels.
static OMNICONV_INLINE f32 gelu_tanh(f32 x) {
  constexpr float kTwice = 1.5957691216057308f;
  return x * sigmoid(x * math::step(x * x, broadcast(0.044715f * kTwice), kTwice));
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv
