// bindings/bind_bessel.cpp -- the Bessel functions for Python: views, releases the GIL, forwards
#include "arrays.hpp"
#include "omniconv/bessel.hpp"

namespace omniconv::bindings {
namespace {

void evaluate_arrays(BesselFunction function, nb::handle v, nb::handle x, nb::handle out, nb::handle second,
                     uintptr_t stream) {
  constexpr auto kAnywhere = TensorView::On::cpu_or_cuda;
  const Input v_array(v, "v", false, kAnywhere), x_array(x, "x", false, kAnywhere);
  const Output out_array(out, "out", false, kAnywhere), second_array(second, "second", false, kAnywhere);
  nb::gil_scoped_release release;
  evaluate(function, v_array.view(), x_array.view(), out_array.view(), second_array.view(),
           reinterpret_cast<void*>(stream));
}

}  // namespace

void bind_bessel(nb::module_& m) {
  nb::enum_<BesselFunction>(m, "BesselFunction")
      .value("log_iv", BesselFunction::log_iv)
      .value("log_kv", BesselFunction::log_kv)
      .value("log_ive", BesselFunction::log_ive)
      .value("log_kve", BesselFunction::log_kve)
      .value("iv_ratio", BesselFunction::iv_ratio)
      .value("iv_ratioc", BesselFunction::iv_ratioc)
      .value("kv_ratio", BesselFunction::kv_ratio)
      .value("iv_ratio_dx", BesselFunction::iv_ratio_dx)
      .value("log_iv_grad", BesselFunction::log_iv_grad)
      .value("log_kv_grad", BesselFunction::log_kv_grad);
  m.def("bessel", &evaluate_arrays, nb::arg("function"), nb::arg("v"), nb::arg("x"), nb::arg("out"),
        nb::arg("second").none() = nb::none(), nb::arg("stream") = 0);
}

}  // namespace omniconv::bindings
