// bindings/bind_mlp.cpp -- MlpPlan for Python
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include "arrays.hpp"
#include "omniconv/mlp.hpp"

namespace omniconv::bindings {

void bind_mlp(nb::module_& m) {
  nb::class_<MlpPlan>(m, "MlpPlan")
      .def(
          "__init__",
          [](MlpPlan* self, const std::vector<int64_t>& x_shape, nb::handle w1, nb::handle w2, nb::handle bias1,
             nb::handle bias2, nb::handle scale1, nb::handle scale2, const std::optional<ConvDesc>& conv,
             nb::handle conv_weight, nb::handle conv_bias, nb::handle conv_scale, bool norm, nb::handle norm_weight,
             nb::handle norm_bias, double eps, const std::string& activation, double negative_slope) {
            const Input w1_(w1, "w1"), w2_(w2, "w2"), b1(bias1, "bias1"), b2(bias2, "bias2"), s1(scale1, "scale1"),
                s2(scale2, "scale2"), cw(conv_weight, "conv"), cb(conv_bias, "conv_bias"), cs(conv_scale, "conv_scale"),
                nw(norm_weight, "norm_weight"), shift(norm_bias, "norm_bias");
            if (w1_.view().ndim != 2 || w2_.view().ndim != 2)
              throw Error(Code::invalid_argument, "w1 and w2 have " + std::to_string(w1_.view().ndim) + " and " +
                                                      std::to_string(w2_.view().ndim) + " axes; expected are two each");
            MlpDesc d;
            d.x_shape = x_shape;
            d.hidden = w1_.view().shape[0];
            d.channels = w2_.view().shape[0];
            d.dtype = w1_.view().dtype;
            d.conv = conv;
            d.norm = norm;
            d.eps = eps;
            d.activation = parse_activation(activation);
            d.negative_slope = negative_slope;
            const MlpWeights w{cw.view(), cb.view(), cs.view(),  nw.view(), shift.view(), w1_.view(),
                               b1.view(), s1.view(), w2_.view(), b2.view(), s2.view()};
            nb::gil_scoped_release free;
            new (self) MlpPlan(d, w);
          },
          nb::kw_only(), nb::arg("x_shape"), nb::arg("w1"), nb::arg("w2"), nb::arg("bias1").none() = nb::none(),
          nb::arg("bias2").none() = nb::none(), nb::arg("scale1").none() = nb::none(),
          nb::arg("scale2").none() = nb::none(), nb::arg("conv").none() = nb::none(),
          nb::arg("conv_weight").none() = nb::none(), nb::arg("conv_bias").none() = nb::none(),
          nb::arg("conv_scale").none() = nb::none(), nb::arg("norm") = false,
          nb::arg("norm_weight").none() = nb::none(), nb::arg("norm_bias").none() = nb::none(), nb::arg("eps") = 1e-6,
          nb::arg("activation") = "gelu", nb::arg("negative_slope") = 0.01)
      .def(
          "run",
          [](const MlpPlan& plan, nb::handle x, nb::handle residual, nb::handle out) {
            const Input x_(x, "x"), r(residual, "residual");
            const Output y(out, "out");
            nb::gil_scoped_release free;
            plan.run(x_.view(), r.view(), y.view());
          },
          nb::arg("x"), nb::arg("residual").none(), nb::arg("out"))
      .def_prop_ro("output_shape", &MlpPlan::output_shape)
      .def_prop_ro("workspace_bytes", &MlpPlan::workspace_bytes)
      .def_prop_ro("packed_bytes", &MlpPlan::packed_bytes)
      .def_prop_ro("flops", &MlpPlan::flops);
}

}  // namespace omniconv::bindings
