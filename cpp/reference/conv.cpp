// reference/conv.cpp -- dense convolution as the formulas say it, summed in float64
//
// No blocking, no reordering, no shared code with the fast paths but the border rule. Parallel over output channels
// only, so every sum has one order.
#include "reference/conv.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/thread_pool.hpp"

namespace omniconv::reference {
namespace {

using conv::border;
using conv::kAxes;
using conv::Problem;
using conv::Strides;

struct Index {
  int64_t i[kAxes];
};

// body(index) for every index below `size`, last axis fastest.
template <class Body>
void for_each(const int64_t (&size)[kAxes], Body&& body) {
  Index at;
  for (at.i[0] = 0; at.i[0] < size[0]; ++at.i[0])
    for (at.i[1] = 0; at.i[1] < size[1]; ++at.i[1])
      for (at.i[2] = 0; at.i[2] < size[2]; ++at.i[2]) body(at);
}

template <class Body>
void for_each_output(const Problem& p, Body&& body) {
  for_each({p.axis[0].out, p.axis[1].out, p.axis[2].out}, body);
}
template <class Body>
void for_each_tap(const Problem& p, Body&& body) {
  for_each({p.axis[0].taps, p.axis[1].taps, p.axis[2].taps}, body);
}

// The input coordinates of output o and tap k; false where the border is zero.
bool source(const Problem& p, const Index& o, const Index& k, Index* at) {
  for (int i = 0; i < kAxes; ++i) {
    const conv::Axis& a = p.axis[i];
    at->i[i] = border(o.i[i] * a.stride + k.i[i] * a.dilation - a.lo, a.in, p.mode);
    if (at->i[i] < 0) return false;
  }
  return true;
}

int64_t dot(const Index& at, const int64_t (&stride)[kAxes]) {
  return at.i[0] * stride[0] + at.i[1] * stride[1] + at.i[2] * stride[2];
}

template <class T>
T epilogue(const ConvOperands<T>& m, double sum, int64_t n, int64_t channel, const Index& at) {
  if (m.scale) sum *= m.scale[channel];
  if (m.bias) sum += m.bias[channel];
  if (m.residual) sum += m.residual[n * m.rs.n + channel * m.rs.c + dot(at, m.rs.axis)];
  return T(activate(m.activation, sum, m.negative_slope));
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

double activate(Activation activation, double x, double slope) {
  if (std::isnan(x)) return x;
  switch (activation) {
    case Activation::none: return x;
    case Activation::relu: return x > 0 ? x : 0;
    case Activation::relu6: return x > 6 ? 6 : x > 0 ? x : 0;
    case Activation::leaky_relu: return x > 0 ? x : slope * x;
    // Of minus infinity, these and hardswish make inf * 0 = NaN, as the kernels and PyTorch do.
    case Activation::silu: return x * sigmoid(x);
    case Activation::gelu: return 0.5 * x * std::erfc(-x * M_SQRT1_2);
    case Activation::gelu_tanh: return 0.5 * x * (1 + std::tanh(M_2_SQRTPI * M_SQRT1_2 * (x + 0.044715 * x * x * x)));
    case Activation::quick_gelu: return x * sigmoid(1.702 * x);
    case Activation::hardswish: return x * (std::clamp(x + 3, 0.0, 6.0) / 6);
    case Activation::sigmoid: return sigmoid(x);
    case Activation::tanh: return std::tanh(x);
  }
  return x;
}

template <class T>
void conv_forward(const Problem& p, const ConvOperands<T>& m) {
  parallel_for(p.batch * p.groups * p.co, [&](int64_t task, int) {
    const int64_t co = task % p.co, g = task / p.co % p.groups, n = task / p.co / p.groups, channel = g * p.co + co;
    for_each_output(p, [&](const Index& o) {
      double sum = 0;
      for_each_tap(p, [&](const Index& k) {
        Index at;
        if (!source(p, o, k, &at)) return;
        const T* x = m.a + n * m.as.n + g * p.ci * m.as.c + dot(at, m.as.axis);
        const T* w = m.b + m.view.offset + g * m.view.group + co * m.view.co + dot(k, m.view.tap);
        for (int64_t ci = 0; ci < p.ci; ++ci) sum += double(x[ci * m.as.c]) * double(w[ci * m.view.ci]);
      });
      m.out[n * m.os.n + channel * m.os.c + dot(o, m.os.axis)] = epilogue(m, sum, n, channel, o);
    });
  });
}

template <class T>
void conv_grad_input(const Problem& p, const ConvOperands<T>& m) {
  const int64_t size[kAxes] = {p.axis[0].in, p.axis[1].in, p.axis[2].in};
  parallel_for(p.batch * p.groups * p.ci, [&](int64_t task, int) {
    const int64_t ci = task % p.ci, g = task / p.ci % p.groups, n = task / p.ci / p.groups, channel = g * p.ci + ci;
    std::vector<double> sum(size[0] * size[1] * size[2], 0.0);
    for_each_output(p, [&](const Index& o) {
      for_each_tap(p, [&](const Index& k) {
        Index at;
        if (!source(p, o, k, &at)) return;
        const T* grad = m.a + n * m.as.n + g * p.co * m.as.c + dot(o, m.as.axis);
        const T* w = m.b + m.view.offset + g * m.view.group + ci * m.view.ci + dot(k, m.view.tap);
        double& to = sum[(at.i[0] * size[1] + at.i[1]) * size[2] + at.i[2]];
        for (int64_t co = 0; co < p.co; ++co) to += double(grad[co * m.as.c]) * double(w[co * m.view.co]);
      });
    });
    const double* from = sum.data();
    for_each(size, [&](const Index& at) {
      m.out[n * m.os.n + channel * m.os.c + dot(at, m.os.axis)] = epilogue(m, *from++, n, channel, at);
    });
  });
}

template <class T>
void conv_grad_weight(const Problem& p, const ConvOperands<T>& m) {
  parallel_for(p.groups * p.co * p.ci, [&](int64_t task, int) {
    const int64_t ci = task % p.ci, co = task / p.ci % p.co, g = task / p.ci / p.co;
    for_each_tap(p, [&](const Index& k) {
      double sum = 0;
      for (int64_t n = 0; n < p.batch; ++n) {
        const T* grad = m.a + n * m.as.n + (g * p.co + co) * m.as.c;
        const T* x = m.b + n * m.bs.n + (g * p.ci + ci) * m.bs.c;
        for_each_output(p, [&](const Index& o) {
          Index at;
          if (source(p, o, k, &at)) sum += double(grad[dot(o, m.as.axis)]) * double(x[dot(at, m.bs.axis)]);
        });
      }
      m.out[m.view.offset + g * m.view.group + co * m.view.co + ci * m.view.ci + dot(k, m.view.tap)] = T(sum);
    });
  });
}

template void conv_forward(const Problem&, const ConvOperands<float>&);
template void conv_forward(const Problem&, const ConvOperands<double>&);
template void conv_grad_input(const Problem&, const ConvOperands<float>&);
template void conv_grad_input(const Problem&, const ConvOperands<double>&);
template void conv_grad_weight(const Problem&, const ConvOperands<float>&);
template void conv_grad_weight(const Problem&, const ConvOperands<double>&);

}  // namespace omniconv::reference
