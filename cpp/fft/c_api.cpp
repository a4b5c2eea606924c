// fft/c_api.cpp -- the C interface of long convolutions
#include "core/c_api.hpp"

#include "omniconv/fft.hpp"

struct omniconv_fft_conv_plan {
  omniconv::FftConvPlan plan;
  omniconv::FftSpectrum spectrum;
  omniconv::Activation activation;
  double negative_slope;
};

namespace omniconv::c_api {
namespace {

using Options = omniconv_fft_conv_options;
using Arrays = omniconv_fft_conv_arrays;

Options default_options() { return {sizeof(Options), "causal", "none", "auto", 0.01, 0}; }

Options options_of(const Options* given) {
  Options o = read(given, default_options(), "options");
  const Options defaults = default_options();
  if (!o.mode) o.mode = defaults.mode;
  if (!o.activation) o.activation = defaults.activation;
  if (!o.algorithm) o.algorithm = defaults.algorithm;
  return o;
}

Arrays arrays_of(const Arrays* given) { return read(&required(given, "arrays"), Arrays{}, "arrays"); }

FftConvPlan plan_of(const Options& o, const TensorView& k, const TensorView& reverse, int64_t length) {
  if (k.ndim < 2) throw Error(Code::invalid_argument, "k has fewer than two axes; expected is [H, K] or [C, H, K]");
  if (reverse.defined() && reverse.ndim != k.ndim)
    throw Error(Code::invalid_argument, "k_reverse has not as many axes as k");
  FftConvDesc d;
  d.dtype = k.dtype;
  d.mode = parse_fft_mode(o.mode);
  d.length = length;
  d.taps = k.shape[k.ndim - 1];
  d.reverse_taps = reverse.defined() ? reverse.shape[reverse.ndim - 1] : 0;
  d.algorithm = o.algorithm;
  return FftConvPlan(d);
}

int64_t length_of(const TensorView& u) {
  if (u.ndim != 3) throw Error(Code::invalid_argument, "u has not three axes; expected is [B, H, L]");
  return u.shape[2];
}

void run(const FftConvPlan& plan, const FftSpectrum& spectrum, const Arrays& a, Activation activation, double slope) {
  FftConvOperands o;
  o.u = array(a.u, "u");
  o.out = array(a.out, "out");
  o.pre_gate = optional_array(a.pre_gate, "pre_gate");
  o.post_gate = optional_array(a.post_gate, "post_gate");
  o.skip = optional_array(a.skip, "skip");
  o.bias = optional_array(a.bias, "bias");
  o.activation = activation;
  o.negative_slope = slope;
  plan.run(spectrum, o);
}

}  // namespace
}  // namespace omniconv::c_api

using namespace omniconv;
using namespace omniconv::c_api;

extern "C" {

omniconv_status omniconv_fft_conv_options_init(omniconv_fft_conv_options* options, size_t size) {
  return guarded([&] {
    Options* o = &required(options, "options");
    if (size < sizeof *o || size > kLargestSize)
      throw Error(Code::invalid_argument, "size is " + std::to_string(size) +
                                              "; expected is sizeof(omniconv_fft_conv_options), here " +
                                              std::to_string(sizeof *o));
    std::memset(static_cast<void*>(o), 0, size);
    *o = default_options();
    o->size = size;
  });
}

omniconv_status omniconv_fft_conv(const omniconv_fft_conv_arrays* arrays, const omniconv_fft_conv_options* options) {
  return guarded([&] {
    const Options o = options_of(options);
    const Arrays a = arrays_of(arrays);
    const TensorView k = array(a.k, "k"), reverse = optional_array(a.k_reverse, "k_reverse");
    const FftConvPlan plan = plan_of(o, k, reverse, length_of(array(a.u, "u")));
    run(plan, plan.transform(k, reverse, o.per_sample != 0), a, parse_activation(o.activation), o.negative_slope);
  });
}

omniconv_status omniconv_fft_conv_backward(const omniconv_fft_conv_arrays* arrays,
                                           const omniconv_fft_conv_options* options) {
  return guarded([&] {
    const Options o = options_of(options);
    const Arrays a = arrays_of(arrays);
    FftConvBackward b;
    b.k = array(a.k, "k");
    b.k_reverse = optional_array(a.k_reverse, "k_reverse");
    b.u = array(a.u, "u");
    b.grad = array(a.grad, "grad");
    b.pre_gate = optional_array(a.pre_gate, "pre_gate");
    b.post_gate = optional_array(a.post_gate, "post_gate");
    b.skip = optional_array(a.skip, "skip");
    b.bias = optional_array(a.bias, "bias");
    b.activation = parse_activation(o.activation);
    b.negative_slope = o.negative_slope;
    b.per_sample = o.per_sample != 0;
    b.du = optional_array(a.du, "du");
    b.dk = optional_array(a.dk, "dk");
    b.dk_reverse = optional_array(a.dk_reverse, "dk_reverse");
    b.dpre_gate = optional_array(a.dpre_gate, "dpre_gate");
    b.dpost_gate = optional_array(a.dpost_gate, "dpost_gate");
    b.dskip = optional_array(a.dskip, "dskip");
    b.dbias = optional_array(a.dbias, "dbias");
    plan_of(o, b.k, b.k_reverse, length_of(b.u)).backward(b);
  });
}

omniconv_status omniconv_fft_conv_plan_create(const DLTensor* k, const DLTensor* k_reverse, int64_t length,
                                              const omniconv_fft_conv_options* options, omniconv_fft_conv_plan** plan) {
  return guarded([&] {
    const Options o = options_of(options);
    const TensorView kernels = array(k, "k"), reverse = optional_array(k_reverse, "k_reverse");
    omniconv_fft_conv_plan** to = &required(plan, "plan");
    FftConvPlan made = plan_of(o, kernels, reverse, length);
    FftSpectrum spectrum = made.transform(kernels, reverse, o.per_sample != 0);
    *to = new omniconv_fft_conv_plan{std::move(made), std::move(spectrum), parse_activation(o.activation),
                                     o.negative_slope};
  });
}

void omniconv_fft_conv_plan_destroy(omniconv_fft_conv_plan* plan) { delete plan; }

omniconv_status omniconv_fft_conv_plan_run(const omniconv_fft_conv_plan* plan, const omniconv_fft_conv_arrays* arrays) {
  return guarded([&] {
    const omniconv_fft_conv_plan& p = required(plan, "plan");
    run(p.plan, p.spectrum, arrays_of(arrays), p.activation, p.negative_slope);
  });
}

}  // extern "C"
