// omniconv/bessel.hpp -- logarithms of the modified Bessel functions I_v(x) and K_v(x), their ratios and derivatives
//
// Real order v and argument x >= 0. Within 4 eps * max(1, |value|) for the logarithms, 3 ulp for the ratios, 8 eps *
// max(1, |value|) for the derivatives (eps = 2^-52 for float64, 2^-23 for float32), wherever the value is
// representable. A negative x gives NaN, and so does a negative v, but for K (even in v) and I of whole order. NaN
// propagates.
#pragma once

#include "omniconv/export.hpp"
#include "omniconv/tensor.hpp"

namespace omniconv {

enum class BesselFunction {
  log_iv,       // log I_v(x)
  log_kv,       // log K_v(x)
  log_ive,      // log (I_v(x) e^-x)
  log_kve,      // log (K_v(x) e^x)
  iv_ratio,     // I_{v+1}(x) / I_v(x)
  iv_ratioc,    // 1 - I_{v+1}(x) / I_v(x)
  kv_ratio,     // K_{v+1}(x) / K_v(x)
  iv_ratio_dx,  // d/dx of I_{v+1}(x) / I_v(x)
  log_iv_grad,  // (d/dv, d/dx) of log I_v(x): two outputs
  log_kv_grad,  // (d/dv, d/dx) of log K_v(x): two outputs
};

// out[i] = f(v[i], x[i]) with the shapes of v and x broadcast to that of out, as in NumPy. All of one dtype; out may be
// v or x itself but overlaps them in no other way. `second`: the second output, of the shape of `out`, or undefined.
OMNICONV_API void evaluate(BesselFunction function, const TensorView& v, const TensorView& x, const TensorView& out,
                           const TensorView& second = {});

// The same for one pair of numbers.
OMNICONV_API double evaluate(BesselFunction function, double v, double x);
OMNICONV_API float evaluate(BesselFunction function, float v, float x);

}  // namespace omniconv
