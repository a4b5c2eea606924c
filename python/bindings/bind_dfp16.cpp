// bindings/bind_dfp16.cpp -- dynamic fixed point for Python: views, releases the GIL, forwards
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "arrays.hpp"
#include "omniconv/dfp16.hpp"

namespace omniconv::bindings {
namespace {

constexpr auto kCpu = TensorView::On::cpu;
constexpr auto kTypes = TensorView::Types::floats_and_integers;

struct In : Input {
  In(nb::handle object, const char* argument) : Input(object, argument, false, kCpu, kTypes) {}
};
struct Out : Output {
  Out(nb::handle object, const char* argument) : Output(object, argument, false, kCpu, kTypes) {}
};

dfp16::Format make_format(int bits, const std::string& granularity, const std::string& rounding, uint64_t seed,
                          uint64_t stream, bool saturate, bool given) {
  return {bits, dfp16::parse_granularity(granularity), dfp16::parse_rounding(rounding), seed, stream, saturate, given};
}

}  // namespace

void bind_dfp16(nb::module_& m) {
  m.def(
      "dfp16_quantize",
      [](nb::handle x, nb::handle mantissa, nb::handle exponent, int bits, const std::string& granularity,
         const std::string& rounding, uint64_t seed, uint64_t stream, bool saturate, bool given, int32_t base) {
        const In from(x, "x");
        const Out to(mantissa, "mantissa"), e(exponent, "exponent");
        const dfp16::Format format = make_format(bits, granularity, rounding, seed, stream, saturate, given);
        nb::gil_scoped_release free;
        dfp16::quantize(from.view(), format, to.view(), e.view(), base);
      },
      nb::arg("x"), nb::arg("mantissa"), nb::arg("exponent"), nb::arg("bits"), nb::arg("granularity"),
      nb::arg("rounding"), nb::arg("seed"), nb::arg("stream"), nb::arg("saturate"), nb::arg("given"), nb::arg("base"));
  m.def(
      "dfp16_dequantize",
      [](nb::handle mantissa, nb::handle exponent, const std::string& granularity, nb::handle out) {
        const In from(mantissa, "mantissa"), e(exponent, "exponent");
        const Out to(out, "out");
        const dfp16::Granularity g = dfp16::parse_granularity(granularity);
        nb::gil_scoped_release free;
        dfp16::dequantize(from.view(), e.view(), g, to.view());
      },
      nb::arg("mantissa"), nb::arg("exponent"), nb::arg("granularity"), nb::arg("out"));
  m.def(
      "dfp16_convolve",
      [](const ConvDesc& desc, nb::handle a, nb::handle a_exponent, int a_bits, nb::handle b, nb::handle b_exponent,
         int b_bits, nb::handle out, nb::handle bias, const std::string& accumulate, const std::string& overflow) {
        const In first(a, "a"), second(b, "b"), e1(a_exponent, "a_exponent"), e2(b_exponent, "b_exponent"),
            added(bias, "bias");
        const Out to(out, "out");
        const dfp16::Options options{dfp16::parse_accumulate(accumulate), dfp16::parse_overflow(overflow), a_bits,
                                     b_bits};
        const dfp16::Operands operands{first.view(), second.view(), to.view(), added.view(), e1.view(), e2.view()};
        dfp16::Report r;
        {
          nb::gil_scoped_release free;
          r = dfp16::convolve(desc, options, operands);
        }
        nb::dict report;
        report["algorithm"] = r.algorithm;
        report["digits"] = r.digits;
        report["terms"] = r.terms;
        report["chain"] = r.chain;
        report["bound"] = r.bound;
        report["certified"] = r.certified;
        report["largest"] = r.largest;
        return report;
      },
      nb::arg("desc"), nb::arg("a"), nb::arg("a_exponent"), nb::arg("a_bits"), nb::arg("b"), nb::arg("b_exponent"),
      nb::arg("b_bits"), nb::arg("out"), nb::arg("bias").none(), nb::arg("accumulate"), nb::arg("overflow"));
  nb::class_<dfp16::Int8Conv>(m, "Int8Conv", "A convolution of 8-bit numbers, its weight packed.")
      .def(
          "__init__",
          [](dfp16::Int8Conv* self, const ConvDesc& desc, double x_scale, int64_t x_zero,
             std::vector<double> weight_scale, std::vector<int64_t> weight_zero, nb::handle weight) {
            const In w(weight, "weight");
            new (self) dfp16::Int8Conv(desc, {{x_scale}, {x_zero}}, {std::move(weight_scale), std::move(weight_zero)},
                                       w.view());
          },
          nb::arg("desc"), nb::arg("x_scale"), nb::arg("x_zero"), nb::arg("weight_scale"), nb::arg("weight_zero"),
          nb::arg("weight"))
      .def(
          "run",
          [](const dfp16::Int8Conv& self, nb::handle x, nb::handle bias, nb::handle y) {
            const In from(x, "x"), added(bias, "bias");
            const Out to(y, "y");
            nb::gil_scoped_release free;
            self.run(from.view(), added.view(), to.view());
          },
          nb::arg("x"), nb::arg("bias").none(), nb::arg("y"));
}

}  // namespace omniconv::bindings
