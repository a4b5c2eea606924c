// dfp16/api.cpp -- convolution of mantissas: checks, one run
#include "core/workspace.hpp"
#include "dfp16/convolution.hpp"
#include "omniconv/context.hpp"

namespace omniconv::dfp16 {
namespace {

using Shape64 = std::vector<int64_t>;

Shape64 shape_of(const TensorView& v) { return {v.shape.begin(), v.shape.begin() + v.ndim}; }

const int32_t* exponents_of(const char* name, const TensorView& e, std::initializer_list<int64_t> allowed,
                            int64_t* count) {
  if (!e.defined()) throw Error(Code::invalid_argument, std::string(name) + " is missing");
  if (e.dtype != DType::int32)
    throw Error(Code::type_error, std::string(name) + " has dtype " + omniconv::name(e.dtype) + "; expected is int32");
  bool fits = e.ndim == 1 && (e.strides[0] == 1 || e.shape[0] == 1);
  bool one_of = false;
  std::string sizes;
  for (int64_t n : allowed) {
    one_of = one_of || (fits && e.shape[0] == n);
    sizes += (sizes.empty() ? "" : " or ") + std::to_string(n);
  }
  if (!one_of)
    throw Error(Code::invalid_argument, std::string(name) + " has shape " + shape_string(e.shape.data(), e.ndim) +
                                            "; this operand of this operation has " + sizes +
                                            " exponents, for others would differ within one sum");
  *count = e.shape[0];
  return static_cast<const int32_t*>(e.data);
}

void check_bits(const char* name, int bits) {
  if (bits < 2 || bits > 16)
    throw Error(Code::invalid_argument, std::string(name) + " is " + std::to_string(bits) + "; allowed are 2 to 16");
}

Values mantissas(const TensorView& v) { return {v.data, true, conv::strides_of(v)}; }

}  // namespace

Report convolve(ConvDesc desc, const Options& options, const Operands& o) {
  const bool forward = desc.op == ConvOp::forward, grad_weight = desc.op == ConvOp::grad_weight;
  check_bits("a_bits", options.a_bits);
  check_bits("b_bits", options.b_bits);
  if (!o.a.defined() || !o.b.defined() || !o.out.defined())
    throw Error(Code::invalid_argument, "a, b and out must be defined");
  const TensorView &x = forward ? o.a : grad_weight ? o.b : o.out, &w = grad_weight ? o.out : o.b;
  desc.dtype = DType::float32;
  desc.spatial = x.ndim - 2;
  desc.x_shape = shape_of(x);
  desc.w_shape = shape_of(w);
  if (desc.op == ConvOp::grad_input && desc.padding_mode != PaddingMode::zeros)
    throw Error(Code::not_supported, "padding_mode: the exact gradient of the input takes 'zeros' alone");
  const conv::Work work = conv::make_work(desc);
  const Shape64 y_shape = conv_output_shape(desc);
  conv::check_shape(forward ? "x" : "grad", o.a, DType::int16, forward ? desc.x_shape : y_shape);
  conv::check_shape(grad_weight ? "x" : "weight", o.b, DType::int16, grad_weight ? desc.x_shape : desc.w_shape);
  if (o.out.dtype != DType::int64)
    conv::check_shape("out", o.out, DType::float32, forward ? y_shape : grad_weight ? desc.w_shape : desc.x_shape);
  else
    conv::check_shape("out", o.out, DType::int64, forward ? y_shape : grad_weight ? desc.w_shape : desc.x_shape);
  conv::check_apart(o.out, "the first operand", o.a);
  conv::check_apart(o.out, "the second operand", o.b);
  const bool integers = o.out.dtype == DType::int64;
  if (integers && options.accumulate == Accumulate::fp32_spill)
    throw Error(Code::invalid_argument, "accumulate is 'fp32_spill', which has no integer sums");
  if (integers && (o.bias.defined() || desc.activation != Activation::none))
    throw Error(Code::invalid_argument, "bias and activation do not go with integer sums");
  Call call;
  const int64_t images = work.problem.batch, channels = desc.w_shape[0];
  call.a_exponents = grad_weight ? exponents_of("a_exponent", o.a_exponent, {1, channels}, &call.a_exponent_count)
                                 : exponents_of("a_exponent", o.a_exponent, {1, images}, &call.a_exponent_count);
  call.b_exponents = forward ? exponents_of("b_exponent", o.b_exponent, {1, channels}, &call.b_exponent_count)
                             : exponents_of("b_exponent", o.b_exponent, {1}, &call.b_exponent_count);
  call.a = mantissas(o.a);
  call.b = mantissas(o.b);
  call.weight = w;
  call.out = o.out.data;
  call.out_integer = integers;
  if (!grad_weight) call.memory.ys = conv::strides_of(o.out);
  std::vector<float> bias;
  if (o.bias.defined()) {
    const int64_t size[] = {forward ? channels : desc.x_shape[1]};
    conv::check_shape("bias", o.bias, DType::float32, size);
    bias.resize(size_t(size[0]));
    call.memory.bias = conv::dense_vector(o.bias, bias.data());
  }
  call.memory.activation = desc.activation;
  call.memory.negative_slope = float(desc.negative_slope);
  Report report;
  call.report = &report;
  const Convolution convolution(desc, work, options);
  if (o.out.size() == 0) return report;
  const int threads = num_threads();
  const ScopedWorkspace memory(convolution.workspace_bytes(threads));
  convolution.run(call, static_cast<char*>(memory.data()), threads);
  return report;
}

}  // namespace omniconv::dfp16
