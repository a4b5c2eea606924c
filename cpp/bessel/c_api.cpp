// bessel/c_api.cpp -- the C interface of the Bessel functions
#include "core/c_api.hpp"

#include "omniconv/bessel.hpp"

namespace omniconv::c_api {
namespace {

constexpr struct {
  const char* name;
  BesselFunction function;
} kNames[] = {
    {"log_iv", BesselFunction::log_iv},           {"log_kv", BesselFunction::log_kv},
    {"log_ive", BesselFunction::log_ive},         {"log_kve", BesselFunction::log_kve},
    {"iv_ratio", BesselFunction::iv_ratio},       {"iv_ratioc", BesselFunction::iv_ratioc},
    {"kv_ratio", BesselFunction::kv_ratio},       {"iv_ratio_dx", BesselFunction::iv_ratio_dx},
    {"log_iv_grad", BesselFunction::log_iv_grad}, {"log_kv_grad", BesselFunction::log_kv_grad},
};

BesselFunction parse_function(const char* name) {
  const std::string wanted = &required(name, "function");
  std::string all;
  for (const auto& entry : kNames) {
    if (wanted == entry.name) return entry.function;
    all += (all.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw Error(Code::invalid_argument, "function is '" + wanted + "'; allowed are: " + all);
}

}  // namespace
}  // namespace omniconv::c_api

using namespace omniconv::c_api;

extern "C" {

omniconv_status omniconv_bessel(const char* function, const DLTensor* v, const DLTensor* x, const DLTensor* out,
                                const DLTensor* second) {
  return guarded([&] {
    constexpr On kAnywhere = On::cpu_or_cuda;
    omniconv::evaluate(parse_function(function), array(v, "v", kAnywhere), array(x, "x", kAnywhere),
                       array(out, "out", kAnywhere), optional_array(second, "second", kAnywhere), current_stream());
  });
}

}  // extern "C"
