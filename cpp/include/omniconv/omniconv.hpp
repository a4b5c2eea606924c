// omniconv/omniconv.hpp -- everything the library offers to C++, in one page:
//
//   #include <omniconv/omniconv.hpp>
//   #include <cstdio>
//   #include <vector>
//
//   int main() {
//     // Arrays stay yours: a view is pointer, type, shape and strides. Shapes are [N, C, *spatial] and
//     // [Co, Ci / groups, *kernel]; the layout is what the strides say, here dense NCHW.
//     std::vector<float> image(3 * 32 * 32, 1.0f), filters(8 * 3 * 3 * 3, 0.5f), bias(8, 1.0f), result(8 * 32 * 32);
//     omniconv::TensorView x(image.data(), {1, 3, 32, 32}), w(filters.data(), {8, 3, 3, 3}), b(bias.data(), {8});
//     omniconv::TensorView y(result.data(), {1, 8, 32, 32});
//
//     // One call.
//     omniconv::convolve({.pad_lo = {1, 1}, .pad_hi = {1, 1}}, {.a = x, .b = w, .out = y});
//
//     // Describe once, run often: weights are packed once, and several threads may run one plan.
//     omniconv::ConvDesc desc{.x_shape = {1, 3, 32, 32}, .w_shape = {8, 3, 3, 3}, .pad_lo = {1, 1}, .pad_hi = {1, 1}};
//     desc.activation = omniconv::Activation::relu;
//     omniconv::ConvPlan plan(desc);
//     plan.pack(w);
//     plan.run({.a = x, .out = y, .bias = b});
//     std::printf("y[0] = %g by %s\n%s", result[0], plan.algorithm().c_str(), plan.explain().c_str());
//
//     // Gradients are plans too: of x, given that of y.
//     omniconv::convolve({.op = omniconv::ConvOp::grad_input, .pad_lo = {1, 1}, .pad_hi = {1, 1}},
//                        {.a = y, .b = w, .out = x});
//
//     // Errors name the argument, what was found and what is allowed.
//     try {
//       omniconv::convolve({.groups = 2}, {.a = x, .b = w, .out = y});
//     } catch (const omniconv::Error& error) {
//       std::printf("%s\n", error.what());
//     }
//
//     // The process: threads and instruction set.
//     omniconv::set_num_threads(1);
//     std::printf("%d thread(s), %s\n", omniconv::num_threads(), omniconv::name(omniconv::current_isa()).data());
//   }
#pragma once

#include "omniconv/bessel.hpp"
#include "omniconv/context.hpp"
#include "omniconv/conv.hpp"
#include "omniconv/dfp16.hpp"
#include "omniconv/fft.hpp"
#include "omniconv/masked.hpp"
#include "omniconv/mlp.hpp"
#include "omniconv/nn.hpp"
#include "omniconv/omniconv.h"
#include "omniconv/sparse.hpp"
#include "omniconv/spikes.hpp"

namespace omniconv {

// Version of the loaded library, "major.minor.patch".
inline const char* version() noexcept { return omniconv_version(); }

}  // namespace omniconv
