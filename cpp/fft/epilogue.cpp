// fft/epilogue.cpp -- the step back through gate and activation, with the sums of skip and bias
#include <cmath>
#include <numbers>
#include <vector>

#include "conv/operands.hpp"
#include "core/thread_pool.hpp"
#include "fft/engine.hpp"
#include "omniconv/fft.hpp"
#include "reference/conv.hpp"

namespace omniconv {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Of activation(s). At a corner the value that PyTorch takes: that of the left side.
double derivative(Activation activation, double s, double slope) {
  constexpr double kNormal = std::numbers::inv_sqrtpi / std::numbers::sqrt2;  // density of N(0, 1) at 0
  switch (activation) {
    case Activation::none: return 1;
    case Activation::relu: return s > 0 ? 1 : 0;
    case Activation::relu6: return s > 0 && s < 6 ? 1 : 0;
    case Activation::leaky_relu: return s > 0 ? 1 : slope;
    case Activation::silu: {
      const double p = sigmoid(s);
      return p * (1 + s * (1 - p));
    }
    case Activation::gelu: return 0.5 * std::erfc(-s / std::numbers::sqrt2) + s * kNormal * std::exp(-0.5 * s * s);
    case Activation::gelu_tanh: {
      const double c = 2 * kNormal, t = std::tanh(c * (s + 0.044715 * s * s * s));  // sqrt(2 / pi) = 2 / sqrt(2 pi)
      return 0.5 * (1 + t) + 0.5 * s * (1 - t * t) * c * (1 + 3 * 0.044715 * s * s);
    }
    case Activation::quick_gelu: {
      const double p = sigmoid(1.702 * s);
      return p * (1 + 1.702 * s * (1 - p));
    }
    case Activation::hardswish: return s <= -3 ? 0 : s < 3 ? (2 * s + 3) / 6 : 1;
    case Activation::sigmoid: {
      const double p = sigmoid(s);
      return p * (1 - p);
    }
    case Activation::tanh: {
      const double t = std::tanh(s);
      return 1 - t * t;
    }
  }
  return 1;
}

}  // namespace

template <class T>
void fft::epilogue_row(const EpilogueArgs<T>& a) {
  double dskip = 0, dbias = 0;
  for (int64_t t = 0; t < a.count; ++t) {
    const double s = a.s ? double(a.s[t]) : 0, up = a.grad[t];
    if (a.dpost) a.dpost[t] = T(up * reference::activate(a.activation, s, a.negative_slope));
    double d = a.post ? up * double(a.post[t]) : up;
    if (a.activation != Activation::none) d *= derivative(a.activation, s, a.negative_slope);
    if (a.ds) a.ds[t] = T(d);
    dbias += d;
    if (a.dskip) dskip += d * (a.pre ? double(a.u[t]) * double(a.pre[t]) : double(a.u[t]));
  }
  if (a.dskip) *a.dskip = dskip;
  if (a.dbias) *a.dbias = dbias;
}
template void fft::epilogue_row(const EpilogueArgs<float>&);
template void fft::epilogue_row(const EpilogueArgs<double>&);

namespace {

// Row (b, c, h) of [B, H, L], or of [B, C, H, L].
template <class T>
T* row(const TensorView& v, int64_t b, int64_t c, int64_t h) {
  if (!v.defined()) return nullptr;
  const int last = v.ndim - 1;
  return static_cast<T*>(v.data) + b * v.strides[0] + (v.ndim == 4 ? c * v.strides[1] : 0) + h * v.strides[last - 1];
}

template <class T>
void run(const FftEpilogueGradient& o) {
  const int last = o.s.ndim - 1;
  const int64_t batch = o.s.shape[0], kernels = o.s.ndim == 4 ? o.s.shape[1] : 1, channels = o.s.shape[last - 1];
  const int64_t length = o.s.shape[last];
  const auto step = [&](const TensorView& v) { return v.defined() ? v.strides[v.ndim - 1] : 0; };
  const int64_t s_step = step(o.s), g_step = step(o.grad), p_step = step(o.post_gate), d_step = step(o.dpost_gate),
                u_step = step(o.u), e_step = step(o.pre_gate);
  parallel_for(kernels * channels, [&](int64_t task, int) {
    const int64_t c = task / channels, h = task % channels;
    double dskip = 0, dbias = 0;
    for (int64_t b = 0; b < batch; ++b) {
      T *s = row<T>(o.s, b, c, h), *dpost = row<T>(o.dpost_gate, b, c, h);
      const T *g = row<T>(o.grad, b, c, h), *post = row<T>(o.post_gate, b, c, h), *u = row<T>(o.u, b, c, h),
              *pre = row<T>(o.pre_gate, b, c, h);
      for (int64_t t = 0; t < length; ++t) {
        const double x = s[t * s_step], up = g[t * g_step];
        if (dpost) dpost[t * d_step] = T(up * reference::activate(o.activation, x, o.negative_slope));
        double d = post ? up * double(post[t * p_step]) : up;
        if (o.activation != Activation::none) d *= derivative(o.activation, x, o.negative_slope);
        s[t * s_step] = T(d);
        dbias += d;
        if (o.dskip.defined())
          dskip += d * (pre ? double(u[t * u_step]) * double(pre[t * e_step]) : double(u[t * u_step]));
      }
    }
    const auto put = [&](const TensorView& v, double value) {
      if (v.defined())
        static_cast<T*>(v.data)[(v.ndim == 2 ? c * v.strides[0] : 0) + h * v.strides[v.ndim - 1]] = T(value);
    };
    put(o.dskip, dskip);
    put(o.dbias, dbias);
  });
}

}  // namespace

void fft_conv_epilogue_gradient(const FftEpilogueGradient& o) {
  if (o.s.ndim != 3 && o.s.ndim != 4) throw Error(Code::invalid_argument, "s is missing, or has not 3 or 4 axes");
  const std::vector<int64_t> y(o.s.shape.begin(), o.s.shape.begin() + o.s.ndim);
  std::vector<int64_t> u{y[0], y[y.size() - 2], y.back()}, per(y.begin() + 1, y.end() - 1);
  const DType dtype = o.s.dtype;
  conv::check_shape("s", o.s, dtype, y);
  conv::check_shape("grad", o.grad, dtype, y);
  if (o.post_gate.defined()) conv::check_shape("post_gate", o.post_gate, dtype, y);
  if (o.dpost_gate.defined()) conv::check_shape("dpost_gate", o.dpost_gate, dtype, y);
  if (o.dskip.defined()) conv::check_shape("u", o.u, dtype, u);
  if (o.dskip.defined() && o.pre_gate.defined()) conv::check_shape("pre_gate", o.pre_gate, dtype, u);
  if (o.dskip.defined()) conv::check_shape("dskip", o.dskip, dtype, per);
  if (o.dbias.defined()) conv::check_shape("dbias", o.dbias, dtype, per);
  dtype == DType::float32 ? run<float>(o) : run<double>(o);
}

}  // namespace omniconv
