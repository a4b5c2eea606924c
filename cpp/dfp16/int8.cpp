// dfp16/int8.cpp -- convolution of 8-bit numbers on the integer kernels
//
// What is multiplied is q - zero, 9 bits with its sign, as int16: a zero point costs nothing, a border is a true 0, and
// vpmaddwd takes 33,022 products to an int32 before one could overflow, so that chains hardly ever end. Rejected on
// AVX2: vpmaddubsw, twice the products to an instruction, but its sums of two have 16 bits and saturate, for certain
// only below 7 bits on one side, and with the two instructions that bring them to 32 bits it would be 1.3 times as
// fast.
#include <cmath>

#include "core/workspace.hpp"
#include "dfp16/convolution.hpp"
#include "omniconv/context.hpp"

namespace omniconv::dfp16 {
namespace {

// A format as the kernels take it.
struct Rounding8 {
  Affine8 format;
  std::vector<double> inverse, low, high;

  Rounding8(Affine8 f, const char* argument, size_t most) : format(std::move(f)) {
    const std::string name = argument;
    const size_t n = format.scale.size();
    if (n == 0 || n != format.zero.size() || (n != 1 && n != most))
      throw Error(Code::invalid_argument, name + " has " + std::to_string(n) + " scales and " +
                                              std::to_string(format.zero.size()) +
                                              " zero points; expected are as many of both, 1" +
                                              (most > 1 ? " or " + std::to_string(most) : ""));
    for (size_t i = 0; i < n; ++i) {
      if (!(format.scale[i] > 0) || !std::isfinite(format.scale[i]))
        throw Error(Code::invalid_argument,
                    name + " has a scale of " + std::to_string(format.scale[i]) + "; it must be positive and finite");
      if (format.zero[i] < -128 || format.zero[i] > 127)
        throw Error(Code::invalid_argument,
                    name + " has a zero point of " + std::to_string(format.zero[i]) + "; allowed are -128 to 127");
      inverse.push_back(1 / format.scale[i]);
      low.push_back(double(-128 - format.zero[i]));
      high.push_back(double(127 - format.zero[i]));
    }
  }
  Steps steps() const { return {inverse.data(), low.data(), high.data(), inverse.size() > 1 ? 1 : 0}; }
};

Options options() {
  Options o;
  o.overflow = Overflow::worst_case;
  o.a_bits = o.b_bits = 8;
  return o;
}

ConvDesc checked(ConvDesc desc) {
  if (desc.op != ConvOp::forward) throw Error(Code::not_supported, "8-bit convolution has no gradients");
  desc.dtype = DType::float32;
  return desc;
}

}  // namespace

struct Int8Conv::Impl {
  ConvDesc desc;
  conv::Work work;
  Rounding8 x, weight;
  std::vector<int64_t> y_shape;
  Convolution convolution;

  Impl(ConvDesc d, Affine8 x_format, Affine8 weight_format, const TensorView& w)
      : desc(checked(std::move(d))),
        work(conv::make_work(desc)),
        x(std::move(x_format), "x_format", 1),
        weight(std::move(weight_format), "weight_format", size_t(desc.w_shape[0])),
        y_shape(conv_output_shape(desc)),
        convolution(desc, work, options()) {
    conv::check_shape("weight", w, DType::float32, desc.w_shape);
    convolution.pack(w, weight.steps());
  }
};

Int8Conv::Int8Conv(ConvDesc desc, Affine8 x_format, Affine8 weight_format, const TensorView& weight)
    : impl_(std::make_unique<Impl>(std::move(desc), std::move(x_format), std::move(weight_format), weight)) {}
Int8Conv::Int8Conv(Int8Conv&&) noexcept = default;
Int8Conv& Int8Conv::operator=(Int8Conv&&) noexcept = default;
Int8Conv::~Int8Conv() = default;

void Int8Conv::run(const TensorView& x, const TensorView& bias, const TensorView& y) const {
  const Impl& i = *impl_;
  conv::check_shape("x", x, DType::float32, i.desc.x_shape);
  conv::check_shape("y", y, DType::float32, i.y_shape);
  conv::check_apart(y, "x", x);
  if (y.size() == 0) return;
  Call call;
  call.grad = x;
  call.a = {x.data, false, conv::strides_of(x), i.x.steps()};
  call.a_scale = i.x.format.scale[0];
  call.b_scales = i.weight.format.scale.data();
  call.b_exponent_count = int64_t(i.weight.format.scale.size());
  call.out = y.data;
  call.memory.y = static_cast<float*>(y.data);
  call.memory.ys = conv::strides_of(y);
  std::vector<float> added;
  if (bias.defined()) {
    const int64_t size[] = {i.desc.w_shape[0]};
    conv::check_shape("bias", bias, DType::float32, size);
    added.resize(size_t(size[0]));
    call.memory.bias = conv::dense_vector(bias, added.data());
  }
  call.memory.activation = i.desc.activation;
  call.memory.negative_slope = float(i.desc.negative_slope);
  const int threads = num_threads();
  const ScopedWorkspace memory(i.convolution.workspace_bytes(threads));
  i.convolution.run(call, static_cast<char*>(memory.data()), threads);
}

}  // namespace omniconv::dfp16
