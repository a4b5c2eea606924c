// bindings/module.cpp -- the module omniconv._core; each family adds its functions in bind_<family>.cpp
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "arrays.hpp"
#include "omniconv/context.hpp"
#include "omniconv/omniconv.h"

namespace nb = nanobind;

namespace {

#if defined(__clang__)
constexpr const char* kCompiler = "Clang " __clang_version__;
#elif defined(__GNUC__)
constexpr const char* kCompiler = "GCC " __VERSION__;
#else
constexpr const char* kCompiler = "unknown";
#endif

void translate(const std::exception_ptr& p, void*) {
  try {
    std::rethrow_exception(p);
  } catch (const omniconv::Error& e) {
    PyObject* type = PyExc_RuntimeError;
    switch (e.code()) {
      case omniconv::Code::invalid_argument: type = PyExc_ValueError; break;
      case omniconv::Code::type_error: type = PyExc_TypeError; break;
      case omniconv::Code::not_supported: type = PyExc_NotImplementedError; break;
      case omniconv::Code::out_of_memory: type = PyExc_MemoryError; break;
      default: break;
    }
    PyErr_SetString(type, e.what());
  }
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "Bindings of libomniconv. Private: use the functions of the package omniconv.";
  m.attr("__version__") = omniconv_version();
  m.attr("compiler") = kCompiler;
  nb::register_exception_translator(translate);
  m.def("num_threads", &omniconv::num_threads);
  m.def("set_num_threads", &omniconv::set_num_threads, nb::arg("threads"));
  m.def("isa", [] { return std::string(name(omniconv::current_isa())); });
  m.def("set_isa", [](const std::string& isa) { omniconv::set_isa(omniconv::parse_isa(isa)); }, nb::arg("isa"));
  m.def("available_isas", [] {
    std::vector<std::string> names;
    for (omniconv::Isa isa : omniconv::available_isas()) names.emplace_back(name(isa));
    return names;
  });
  m.def("array_device", &omniconv::array_device);
  m.def(
      "cuda_report",
      [] {
        const omniconv::CudaReport report = omniconv::cuda_report();
        return nb::make_tuple(report.plugin, report.reason, report.devices);
      },
      "(file of the plugin, why CUDA cannot be used or '', a line for each device)");
  omniconv::bindings::bind_bessel(m);
  omniconv::bindings::bind_conv(m);
  omniconv::bindings::bind_dfp16(m);
  omniconv::bindings::bind_fft(m);
  omniconv::bindings::bind_mlp(m);
  omniconv::bindings::bind_nn(m);
  omniconv::bindings::bind_sparse(m);
}
