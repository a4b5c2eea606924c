// conv/c_api.cpp -- the C interface of dense convolution: DLTensors to views, options to a description
#include "conv/c_api.hpp"

#include <algorithm>
#include <cstring>

#include "omniconv/conv.hpp"

struct omniconv_conv_plan {
  omniconv::ConvPlan plan;
};

namespace omniconv::c_api {
namespace {

using Options = omniconv_conv_options;

// Members up to here have been there from the first version. None of them may be followed by padding: a later member
// would fall into it without a change of the size.
constexpr size_t kFirstSize = offsetof(Options, channels_last) + sizeof(int32_t);
static_assert(sizeof(Options) == kFirstSize);

Options default_options() {
  Options o{};
  o.size = sizeof o;
  std::fill_n(o.stride, 3, 1);
  std::fill_n(o.dilation, 3, 1);
  o.groups = 1;
  o.padding_mode = "zeros";
  o.activation = "none";
  o.precision = "highest";
  o.algorithm = "auto";
  o.negative_slope = 0.01f;
  return o;
}

void check_size(size_t size) {
  if (size < kFirstSize || size > kLargestSize)
    throw Error(Code::invalid_argument, "the size of options is " + std::to_string(size) +
                                            "; expected is sizeof(omniconv_conv_options), here " +
                                            std::to_string(sizeof(Options)) + ", set by omniconv_conv_options_init()");
}

// A caller built with older headers leaves the newest members at their defaults; one built with newer headers may not
// ask for what this library does not know.
Options read(const Options* given) {
  Options o = default_options();
  if (!given) return o;
  check_size(given->size);
  const char* bytes = reinterpret_cast<const char*>(given);
  if (std::any_of(bytes + std::min(sizeof o, given->size), bytes + given->size, [](char c) { return c != 0; }))
    throw Error(Code::not_supported, "options sets a member that library version " OMNICONV_VERSION " does not know");
  std::memcpy(&o, given, std::min(sizeof o, given->size));
  const Options defaults = default_options();
  if (!o.padding_mode) o.padding_mode = defaults.padding_mode;
  if (!o.activation) o.activation = defaults.activation;
  if (!o.precision) o.precision = defaults.precision;
  if (!o.algorithm) o.algorithm = defaults.algorithm;
  return o;
}

}  // namespace

ConvOp parse(omniconv_conv_op op) {
  switch (op) {
    case OMNICONV_CONV_FORWARD: return ConvOp::forward;
    case OMNICONV_CONV_GRAD_INPUT: return ConvOp::grad_input;
    case OMNICONV_CONV_GRAD_WEIGHT: return ConvOp::grad_weight;
  }
  throw Error(Code::invalid_argument, "op is " + std::to_string(int(op)) + "; allowed are 0, 1 and 2");
}

ConvDesc describe(ConvOp op, const Options* given) {
  const Options o = read(given);
  ConvDesc d;
  d.op = op;
  std::copy_n(o.stride, 3, d.stride.begin());
  std::copy_n(o.dilation, 3, d.dilation.begin());
  std::copy_n(o.pad_lo, 3, d.pad_lo.begin());
  std::copy_n(o.pad_hi, 3, d.pad_hi.begin());
  std::copy_n(o.output_padding, 3, d.output_padding.begin());
  d.groups = o.groups;
  d.padding_mode = parse_padding_mode(o.padding_mode);
  d.activation = parse_activation(o.activation);
  d.negative_slope = o.negative_slope;
  d.precision = parse_precision(o.precision);
  d.channels_last = o.channels_last != 0;
  d.algorithm = o.algorithm;
  return d;
}

ConvDesc describe(ConvOp op, const Options* options, const DLTensor* x, const DLTensor* weight) {
  ConvDesc d = describe(op, options);
  d.take_shapes(array(x, "x", On::cpu_or_cuda), array(weight, "weight", On::cpu_or_cuda));
  return d;
}

namespace {

ConvOperands operands(const DLTensor* a, const char* a_name, const DLTensor* b, const char* b_name,
                      const DLTensor* bias, const DLTensor* scale, const DLTensor* residual, const DLTensor* out) {
  ConvOperands o;
  o.stream = current_stream();
  o.a = array(a, a_name, On::cpu_or_cuda);
  o.b = optional_array(b, b_name, On::cpu_or_cuda);
  o.out = array(out, "out", On::cpu_or_cuda);
  o.bias = optional_array(bias, "bias", On::cpu_or_cuda);
  o.scale = optional_array(scale, "scale", On::cpu_or_cuda);
  o.residual = optional_array(residual, "residual", On::cpu_or_cuda);
  return o;
}

}  // namespace
}  // namespace omniconv::c_api

using namespace omniconv;
using namespace omniconv::c_api;

omniconv_status omniconv_conv_options_init(omniconv_conv_options* options, size_t size) {
  return guarded([&] {
    required(options, "options");
    check_size(size);
    const Options defaults = default_options();
    std::memset(options, 0, size);
    std::memcpy(options, &defaults, std::min(size, sizeof defaults));
    options->size = size;
  });
}

omniconv_status omniconv_conv_output_shape(const DLTensor* x, const DLTensor* weight,
                                           const omniconv_conv_options* options, int64_t* shape) {
  return guarded([&] {
    required(shape, "shape");
    const std::vector<int64_t> y = conv_output_shape(describe(ConvOp::forward, options, x, weight));
    std::copy(y.begin(), y.end(), shape);
  });
}

omniconv_status omniconv_conv(const DLTensor* x, const DLTensor* weight, const DLTensor* bias, const DLTensor* scale,
                              const DLTensor* residual, const DLTensor* out, const omniconv_conv_options* options) {
  return guarded([&] {
    required(weight, "weight");
    convolve(describe(ConvOp::forward, options), operands(x, "x", weight, "weight", bias, scale, residual, out));
  });
}

omniconv_status omniconv_conv_grad_input(const DLTensor* grad, const DLTensor* weight, const DLTensor* bias,
                                         const DLTensor* scale, const DLTensor* residual, const DLTensor* out,
                                         const omniconv_conv_options* options) {
  return guarded([&] {
    required(weight, "weight");
    convolve(describe(ConvOp::grad_input, options),
             operands(grad, "grad", weight, "weight", bias, scale, residual, out));
  });
}

omniconv_status omniconv_conv_grad_weight(const DLTensor* grad, const DLTensor* x, const DLTensor* out,
                                          const omniconv_conv_options* options) {
  return guarded([&] {
    required(x, "x");
    convolve(describe(ConvOp::grad_weight, options), operands(grad, "grad", x, "x", nullptr, nullptr, nullptr, out));
  });
}

omniconv_status omniconv_conv_grad_bias(const DLTensor* grad, const DLTensor* out) {
  return guarded([&] {
    conv_grad_bias(array(grad, "grad", On::cpu_or_cuda), array(out, "out", On::cpu_or_cuda), current_stream());
  });
}

omniconv_status omniconv_conv_plan_create(omniconv_conv_op op, const DLTensor* x, const DLTensor* weight,
                                          const omniconv_conv_options* options, omniconv_conv_plan** plan) {
  return guarded([&] {
    required(plan, "plan") = nullptr;
    *plan = new omniconv_conv_plan{ConvPlan(describe(parse(op), options, x, weight))};
  });
}

void omniconv_conv_plan_destroy(omniconv_conv_plan* plan) { delete plan; }

omniconv_status omniconv_conv_plan_pack(omniconv_conv_plan* plan, const DLTensor* weight) {
  return guarded([&] { required(plan, "plan").plan.pack(array(weight, "weight", On::cpu_or_cuda), current_stream()); });
}

omniconv_status omniconv_conv_plan_run(const omniconv_conv_plan* plan, const DLTensor* a, const DLTensor* b,
                                       const DLTensor* bias, const DLTensor* scale, const DLTensor* residual,
                                       const DLTensor* out, void* workspace, size_t workspace_bytes) {
  return guarded([&] {
    const ConvPlan& p = required(plan, "plan").plan;
    const ConvOperands o = operands(a, "a", b, "b", bias, scale, residual, out);
    if (workspace)
      p.run(o, workspace, workspace_bytes);
    else
      p.run(o);
  });
}

omniconv_status omniconv_conv_plan_workspace_bytes(const omniconv_conv_plan* plan, size_t* bytes) {
  return guarded([&] { required(bytes, "bytes") = required(plan, "plan").plan.workspace_bytes(); });
}

const char* omniconv_conv_plan_algorithm(const omniconv_conv_plan* plan) {
  return plan ? plan->plan.algorithm().c_str() : nullptr;
}

omniconv_status omniconv_conv_plan_explain(const omniconv_conv_plan* plan, char* text, size_t* size) {
  return guarded([&] {
    const std::string all = required(plan, "plan").plan.explain();
    const size_t room = required(size, "size");
    if (room > 0) {
      const size_t fits = std::min(room - 1, all.size());
      std::memcpy(&required(text, "text"), all.data(), fits);
      text[fits] = 0;
    }
    *size = all.size() + 1;
  });
}

omniconv_status omniconv_conv_algorithms(omniconv_conv_op op, const DLTensor* x, const DLTensor* weight,
                                         const omniconv_conv_options* options,
                                         void (*visit)(const omniconv_algorithm* algorithm, void* user), void* user) {
  return guarded([&] {
    if (!visit) throw Error(Code::invalid_argument, "visit is NULL");
    for (const AlgorithmInfo& info : algorithms(describe(parse(op), options, x, weight))) {
      const omniconv_algorithm a{info.name.c_str(), info.usable, info.reason.c_str(), info.workspace_bytes, info.cost};
      visit(&a, user);
    }
  });
}
