// reference/mlp.cpp -- convolution, norm, product, activation, product as their formulas say
#include "reference/mlp.hpp"

#include <vector>

#include "conv/operands.hpp"
#include "conv/work.hpp"
#include "reference/conv.hpp"
#include "reference/nn.hpp"

namespace omniconv::reference {
namespace {

using Vector = std::vector<double>;

const double* doubles(const TensorView& v) { return static_cast<const double*>(v.data); }

double at(const TensorView& v, int64_t i, double missing) {
  return v.defined() ? doubles(v)[i * v.strides[0]] : missing;
}

// Element 0 of a pixel of [N, C, *spatial], pixels counted with the last axis fastest.
int64_t pixel_offset(const TensorView& v, int64_t pixel) {
  int64_t offset = 0;
  for (int axis = v.ndim - 1; axis > 1; --axis) {
    offset += pixel % v.shape[axis] * v.strides[axis];
    pixel /= v.shape[axis];
  }
  return offset + pixel * v.strides[0];
}

Vector product(const TensorView& w, const TensorView& scale, const TensorView& bias, const Vector& x) {
  Vector y(size_t(w.shape[0]));
  for (size_t o = 0; o < y.size(); ++o) {
    for (size_t i = 0; i < x.size(); ++i)
      y[o] += doubles(w)[int64_t(o) * w.strides[0] + int64_t(i) * w.strides[1]] * x[i];
    y[o] = y[o] * at(scale, int64_t(o), 1) + at(bias, int64_t(o), 0);
  }
  return y;
}

// f(x), dense [N, C, H, W] in `room`.
TensorView convolved(const ConvDesc& desc, const MlpWeights& w, const TensorView& x, Vector& room) {
  const conv::Work work = conv::make_work(desc);
  const std::vector<int64_t> shape = conv_output_shape(desc);
  room.resize(size_t(shape[0] * shape[1] * shape[2] * shape[3]));
  const TensorView y = conv::dense_view(room.data(), DType::float64, shape);
  Vector bias, scale;
  for (int64_t c = 0; c < shape[1]; ++c) bias.push_back(at(w.conv_bias, c, 0)), scale.push_back(at(w.conv_scale, c, 1));
  ConvOperands<double> m;
  m.a = doubles(x);
  m.as = conv::strides_of(x);
  m.b = doubles(w.conv);
  m.view = conv::weight_view(desc, work, work.phases[0], w.conv);
  m.out = room.data();
  m.os = conv::strides_of(y);
  m.bias = bias.data();
  m.scale = scale.data();
  conv_forward(work.problem, m);
  return y;
}

}  // namespace

void mlp(const MlpDesc& desc, const MlpWeights& w, const TensorView& x, const TensorView& residual,
         const TensorView& out) {
  Vector room;
  const TensorView from = desc.conv ? convolved(*desc.conv, w, x, room) : x;
  Vector row(size_t(from.shape[1]));
  const int64_t width = from.shape[1];
  for (int64_t pixel = 0; pixel < out.size() / desc.channels; ++pixel) {
    const double* source = doubles(from) + pixel_offset(from, pixel);
    for (int64_t c = 0; c < width; ++c) row[size_t(c)] = source[c * from.strides[1]];
    const TensorView view(row.data(), {1, width});
    if (desc.norm) reference::layer_norm(view, w.norm_weight, w.norm_bias, desc.eps, true, view);
    Vector h = product(w.w1, w.scale1, w.bias1, row);
    for (double& v : h) v = activate(desc.activation, v, desc.negative_slope);
    const Vector y = product(w.w2, w.scale2, w.bias2, h);
    for (int64_t c = 0; c < desc.channels; ++c)
      static_cast<double*>(out.data)[pixel_offset(out, pixel) + c * out.strides[1]] =
          y[size_t(c)] +
          (residual.defined() ? doubles(residual)[pixel_offset(residual, pixel) + c * residual.strides[1]] : 0.0);
  }
}

}  // namespace omniconv::reference
