// bindings/bind_nn.cpp -- norms, sums, factors and pools for Python
#include <nanobind/stl/array.h>

#include "arrays.hpp"
#include "omniconv/conv.hpp"
#include "omniconv/nn.hpp"

namespace omniconv::bindings {

void bind_nn(nb::module_& m) {
  m.def(
      "nn_layer_norm",
      [](nb::handle x, nb::handle weight, nb::handle bias, double eps, bool centred, nb::handle out) {
        const Input x_(x, "x"), w(weight, "weight"), b(bias, "bias");
        const Output y(out, "out");
        nb::gil_scoped_release free;
        layer_norm(x_.view(), w.view(), b.view(), eps, centred, y.view());
      },
      nb::arg("x"), nb::arg("weight").none(), nb::arg("bias").none(), nb::arg("eps"), nb::arg("centred"),
      nb::arg("out"));
  m.def(
      "nn_channel_sums",
      [](nb::handle x, bool squares, nb::handle out) {
        const Input x_(x, "x");
        const Output y(out, "out");
        nb::gil_scoped_release free;
        channel_sums(x_.view(), squares, y.view());
      },
      nb::arg("x"), nb::arg("squares"), nb::arg("out"));
  m.def(
      "nn_channel_affine",
      [](nb::handle x, nb::handle scale, nb::handle shift, nb::handle out) {
        const Input x_(x, "x"), a(scale, "scale"), b(shift, "shift");
        const Output y(out, "out");
        nb::gil_scoped_release free;
        channel_affine(x_.view(), a.view(), b.view(), y.view());
      },
      nb::arg("x"), nb::arg("scale").none(), nb::arg("shift").none(), nb::arg("out"));
  m.def(
      "nn_squeeze_excite",
      [](nb::handle x, nb::handle w1, nb::handle bias1, const std::string& squeeze, nb::handle w2, nb::handle bias2,
         const std::string& excite, nb::handle out) {
        const Input x_(x, "x"), w1_(w1, "w1"), b1(bias1, "bias1"), w2_(w2, "w2"), b2(bias2, "bias2");
        const Output y(out, "out");
        const SqueezeExcite weights{w1_.view(), b1.view(), parse_activation(squeeze),
                                    w2_.view(), b2.view(), parse_activation(excite)};
        nb::gil_scoped_release free;
        squeeze_excite(x_.view(), weights, y.view());
      },
      nb::arg("x"), nb::arg("w1"), nb::arg("bias1").none(), nb::arg("squeeze"), nb::arg("w2"), nb::arg("bias2").none(),
      nb::arg("excite"), nb::arg("out"));
  m.def(
      "nn_multiply_rows",
      [](nb::handle a, nb::handle b, nb::handle out) {
        const Input a_(a, "a"), b_(b, "b");
        const Output y(out, "out");
        nb::gil_scoped_release free;
        multiply_rows(a_.view(), b_.view(), y.view());
      },
      nb::arg("a"), nb::arg("b"), nb::arg("out"));
  m.def(
      "nn_activate",
      [](nb::handle x, const std::string& activation, float negative_slope, nb::handle out) {
        const Input x_(x, "x");
        const Output y(out, "out");
        const Activation kind = parse_activation(activation);
        nb::gil_scoped_release free;
        activate(x_.view(), kind, negative_slope, y.view());
      },
      nb::arg("x"), nb::arg("activation"), nb::arg("negative_slope"), nb::arg("out"));
  using Two = std::array<int64_t, 2>;
  m.def(
      "nn_max_pool2d",
      [](nb::handle x, Two kernel, Two stride, Two padding, nb::handle out) {
        const Input x_(x, "x");
        const Output y(out, "out");
        const PoolWindow window{{kernel[0], kernel[1]}, {stride[0], stride[1]}, {padding[0], padding[1]}};
        nb::gil_scoped_release free;
        max_pool2d(x_.view(), window, y.view());
      },
      nb::arg("x"), nb::arg("kernel"), nb::arg("stride"), nb::arg("padding"), nb::arg("out"));
}

}  // namespace omniconv::bindings
