// conv/operands.cpp -- the arrays of one run: checks, strides, and the passes around the phases of grad_input
#include "conv/operands.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/thread_pool.hpp"
#include "reference/conv.hpp"

namespace omniconv::conv {
namespace {

std::string string_of(const TensorView& v) { return shape_string(v.shape.data(), v.ndim); }

// The bytes a view can touch.
void extent(const TensorView& v, const char** low, const char** high) {
  const char* base = static_cast<const char*>(v.data);
  int64_t first = 0, last = 0;
  for (int i = 0; i < v.ndim; ++i) (v.strides[i] < 0 ? first : last) += (v.shape[i] - 1) * v.strides[i];
  *low = base + first * v.item_size();
  *high = base + (last + 1) * v.item_size();
}

// Whether two elements of a view may be one in memory: axes by stride, each must step over all smaller ones.
bool overlaps_itself(const TensorView& v) {
  if (v.size() == 0) return false;
  int axes[kMaxDims], count = 0;
  for (int i = 0; i < v.ndim; ++i) {
    if (v.shape[i] == 1) continue;
    int at = count++;
    for (; at > 0 && std::abs(v.strides[axes[at - 1]]) > std::abs(v.strides[i]); --at) axes[at] = axes[at - 1];
    axes[at] = i;
  }
  int64_t reach = 1;
  for (int i = 0; i < count; ++i) {
    const int64_t stride = std::abs(v.strides[axes[i]]);
    if (stride < reach) return true;
    reach += stride * (v.shape[axes[i]] - 1);
  }
  return false;
}

int64_t channels_of(const ConvDesc& d) { return d.op == ConvOp::forward ? d.w_shape[0] : d.x_shape[1]; }

}  // namespace

void check_shape(const char* name, const TensorView& v, DType dtype, std::span<const int64_t> shape) {
  const std::string who = name;
  if (!v.defined()) throw Error(Code::invalid_argument, who + " is missing");
  if (v.dtype != dtype)
    throw Error(Code::type_error,
                who + " has dtype " + omniconv::name(v.dtype) + "; the other arrays have " + omniconv::name(dtype));
  if (v.ndim != int(shape.size()) || !std::equal(shape.begin(), shape.end(), v.shape.begin()))
    throw Error(Code::invalid_argument,
                who + " has shape " + string_of(v) + "; expected is " + shape_string(shape.data(), int(shape.size())));
  if (!v.data && v.size() > 0) throw Error(Code::invalid_argument, who + " has no data");
}

void check_device(const char* name, const TensorView& v, Device device) {
  if (v.defined() && v.device != device)
    throw Error(Code::invalid_argument, std::string(name) + " is on " + omniconv::name(v.device) +
                                            "; the other arrays are on " + omniconv::name(device));
}

void check_apart(const TensorView& out, const char* name, const TensorView& in) {
  if (!in.defined() || in.size() == 0 || out.size() == 0) return;
  const char *a, *b, *c, *d;
  extent(out, &a, &b);
  extent(in, &c, &d);
  if (a < d && c < b)
    throw Error(Code::invalid_argument, std::string("out overlaps ") + name + "; it must be memory of its own");
}

void check_weight(const ConvDesc& desc, const TensorView& weight) {
  check_shape("weight", weight, desc.dtype, desc.w_shape);
  check_device("weight", weight, desc.device);
}

void check_operands(const ConvDesc& desc, std::span<const int64_t> y, const ConvOperands& o, bool packed) {
  const bool forward = desc.op == ConvOp::forward, grad_weight = desc.op == ConvOp::grad_weight;
  const std::span<const int64_t> out =
      forward ? y : std::span<const int64_t>(grad_weight ? desc.w_shape : desc.x_shape);
  const int64_t channels[] = {channels_of(desc)};
  const char* a = forward ? "x" : "grad";
  check_shape(a, o.a, desc.dtype, forward ? std::span<const int64_t>(desc.x_shape) : y);
  if (grad_weight)
    check_shape("x", o.b, desc.dtype, desc.x_shape);
  else if (!packed)
    check_weight(desc, o.b);
  check_shape("out", o.out, desc.dtype, out);
  if (overlaps_itself(o.out))
    throw Error(Code::invalid_argument, "out of shape " + string_of(o.out) + " overlaps itself");
  for (const auto& [name, view] :
       {std::pair("bias", &o.bias), std::pair("scale", &o.scale), std::pair("residual", &o.residual)})
    if (grad_weight && view->defined())
      throw Error(Code::invalid_argument, std::string(name) + " is given; the gradient of the weights takes none");
  if (o.bias.defined()) check_shape("bias", o.bias, desc.dtype, channels);
  if (o.scale.defined()) check_shape("scale", o.scale, desc.dtype, channels);
  if (o.residual.defined()) check_shape("residual", o.residual, desc.dtype, out);
  check_device(a, o.a, desc.device);
  check_device(grad_weight ? "x" : "weight", o.b, desc.device);
  check_device("out", o.out, desc.device);
  check_device("bias", o.bias, desc.device);
  check_device("scale", o.scale, desc.device);
  check_device("residual", o.residual, desc.device);
  check_apart(o.out, a, o.a);
  check_apart(o.out, grad_weight ? "x" : "weight", o.b);
  check_apart(o.out, "bias", o.bias);
  check_apart(o.out, "scale", o.scale);
  check_apart(o.out, "residual", o.residual);
}

Strides strides_of(const TensorView& v) {
  Strides s;
  s.n = v.strides[0];
  s.c = v.strides[1];
  const int spatial = v.ndim - 2;
  for (int i = 0; i < spatial; ++i) s.axis[kAxes - spatial + i] = v.strides[2 + i];
  return s;
}

Strides dense_strides(int64_t channels, const Axis (&axis)[kAxes]) {
  Strides s;
  s.axis[2] = 1;
  s.axis[1] = axis[2].in;
  s.axis[0] = s.axis[1] * axis[1].in;
  s.c = s.axis[0] * axis[0].in;
  s.n = s.c * channels;
  return s;
}

TensorView dense_view(void* data, DType dtype, const std::vector<int64_t>& shape) {
  TensorView v(data, dtype, {});
  v.ndim = int(shape.size());
  int64_t stride = 1;
  for (int i = v.ndim - 1; i >= 0; --i) {
    v.shape[i] = shape[i];
    v.strides[i] = stride;
    stride *= std::max<int64_t>(shape[i], 1);
  }
  return v;
}

std::vector<char> dense_copy(const TensorView& v) {
  const int64_t item = v.item_size(), size = v.size();
  std::vector<char> copy(size_t(size * item));
  for (int64_t i = 0; i < size; ++i) {
    int64_t rest = i, at = 0;
    for (int axis = v.ndim - 1; axis >= 0; --axis) {
      at += rest % v.shape[axis] * v.strides[axis];
      rest /= v.shape[axis];
    }
    std::memcpy(copy.data() + i * item, static_cast<const char*>(v.data) + at * item, size_t(item));
  }
  return copy;
}

namespace {

float finish_one(const Operands& m, double sum, int64_t channel, int64_t residual_at) {
  if (m.scale) sum *= m.scale[channel];
  if (m.bias) sum += m.bias[channel];
  if (m.residual) sum += m.residual[residual_at];
  return float(reference::activate(m.activation, sum, m.negative_slope));
}

// body(n, channel) for all images and all channels of the input side, in parallel.
template <class Body>
void for_each_plane(int64_t batch, int64_t channels, int threads, Body&& body) {
  parallel_for(batch * channels, threads, [&](int64_t task, int) { body(task / channels, task % channels); });
}

}  // namespace

void fill_epilogue(const Problem& p, const Operands& m, int threads) {
  for_each_plane(p.batch, p.groups * p.ci, threads, [&](int64_t n, int64_t c) {
    for (int64_t d = 0; d < p.axis[0].out; ++d)
      for (int64_t h = 0; h < p.axis[1].out; ++h)
        for (int64_t w = 0; w < p.axis[2].out; ++w) {
          const int64_t to = n * m.ys.n + c * m.ys.c + d * m.ys.axis[0] + h * m.ys.axis[1] + w * m.ys.axis[2];
          const int64_t from = n * m.rs.n + c * m.rs.c + d * m.rs.axis[0] + h * m.rs.axis[1] + w * m.rs.axis[2];
          m.y[to] = finish_one(m, 0, c, from);
        }
  });
}

void fold_border(const Problem& p, const Problem& padded, const float* grad, const Strides& gs, const Operands& m,
                 int threads) {
  for_each_plane(p.batch, p.groups * p.ci, threads, [&](int64_t n, int64_t c) {
    float* y = m.y + n * m.ys.n + c * m.ys.c;
    const float* g = grad + n * gs.n + c * gs.c;
    const int64_t in[kAxes] = {p.axis[0].in, p.axis[1].in, p.axis[2].in};
    auto at = [&](const Strides& s, int64_t d, int64_t h, int64_t w) {
      return d * s.axis[0] + h * s.axis[1] + w * s.axis[2];
    };
    for (int64_t d = 0; d < in[0]; ++d)
      for (int64_t h = 0; h < in[1]; ++h)
        for (int64_t w = 0; w < in[2]; ++w) y[at(m.ys, d, h, w)] = 0;
    for (int64_t d = 0; d < padded.axis[0].in; ++d)
      for (int64_t h = 0; h < padded.axis[1].in; ++h)
        for (int64_t w = 0; w < padded.axis[2].in; ++w)
          y[at(m.ys, border(d - p.axis[0].lo, in[0], p.mode), border(h - p.axis[1].lo, in[1], p.mode),
               border(w - p.axis[2].lo, in[2], p.mode))] += g[at(gs, d, h, w)];
    for (int64_t d = 0; d < in[0]; ++d)
      for (int64_t h = 0; h < in[1]; ++h)
        for (int64_t w = 0; w < in[2]; ++w) {
          float& to = y[at(m.ys, d, h, w)];
          to = finish_one(m, to, c, n * m.rs.n + c * m.rs.c + at(m.rs, d, h, w));
        }
  });
}

}  // namespace omniconv::conv
