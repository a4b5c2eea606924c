// bindings/bind_bessel.cpp -- the Bessel functions for Python: views, releases the GIL, forwards
#include "arrays.hpp"
#include "omniconv/bessel.hpp"

namespace omniconv::bindings {
namespace {

void evaluate_arrays(BesselFunction function, nb::handle v, nb::handle x, nb::handle out, nb::handle second) {
  const Input v_array(v, "v"), x_array(x, "x");
  const Output out_array(out, "out"), second_array(second, "second");
  nb::gil_scoped_release release;
  evaluate(function, v_array.view(), x_array.view(), out_array.view(), second_array.view());
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
        nb::arg("second").none());
}

}  // namespace omniconv::bindings
