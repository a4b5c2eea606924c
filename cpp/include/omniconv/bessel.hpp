// omniconv/bessel.hpp -- logarithms of the modified Bessel functions I_v(x) and K_v(x), their ratios and derivatives
//
// Real order v and argument x >= 0. Within 4 eps * max(1, |value|) for the logarithms, 3 ulp for the ratios, 8 eps *
// max(1, |value|) for the derivatives (eps = 2^-52 for float64, 2^-23 for float32), wherever the value is
// representable. A negative x gives NaN, and so does a negative v, but for K (even in v) and I of whole order. NaN
// propagates.
#pragma once

#include "omniconv/export.hpp"
#include "omniconv/options.hpp"
#include "omniconv/tensor.hpp"

namespace omniconv {

// out[i] = f(v[i], x[i]) with the shapes of v and x broadcast to that of out, as in NumPy. All of one dtype; out may be
// v or x itself but overlaps them in no other way. `second`: the second output, of the shape of `out`, or undefined.
// All lie on one device. On a CUDA device the call is put into `stream`, a cudaStream_t (null: the legacy default
// stream), and comes back before it is done.
OMNICONV_API void evaluate(BesselFunction function, const TensorView& v, const TensorView& x, const TensorView& out,
                           const TensorView& second = {}, void* stream = nullptr);

// The same for one pair of numbers.
OMNICONV_API double evaluate(BesselFunction function, double v, double x);
OMNICONV_API float evaluate(BesselFunction function, float v, float x);

}  // namespace omniconv
