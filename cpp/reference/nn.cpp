// reference/nn.cpp -- norms, sums, factors and pools as their formulas say
#include "reference/nn.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "reference/conv.hpp"

namespace omniconv::reference {
namespace {

double& at(const TensorView& v, int64_t i, int64_t j = 0, int64_t k = 0, int64_t l = 0) {
  const int64_t index[] = {i, j, k, l};
  int64_t offset = 0;
  for (int axis = 0; axis < v.ndim; ++axis) offset += index[axis] * v.strides[axis];
  return static_cast<double*>(v.data)[offset];
}

double factor(const TensorView& v, int64_t n, int64_t c, double missing) {
  return v.defined() ? at(v, v.shape[0] == 1 ? 0 : n, c) : missing;
}

}  // namespace

void layer_norm(const TensorView& x, const TensorView& weight, const TensorView& bias, double eps, bool centred,
                const TensorView& y) {
  const int64_t width = x.shape[1];
  for (int64_t r = 0; r < x.shape[0]; ++r) {
    double mean = 0, square = 0;
    for (int64_t c = 0; c < width && centred; ++c) mean += at(x, r, c) / double(width);
    for (int64_t c = 0; c < width; ++c) square += (at(x, r, c) - mean) * (at(x, r, c) - mean) / double(width);
    for (int64_t c = 0; c < width; ++c)
      at(y, r, c) = (at(x, r, c) - mean) / std::sqrt(square + eps) * (weight.defined() ? at(weight, c) : 1.0) +
                    (bias.defined() ? at(bias, c) : 0.0);
  }
}

void channel_sums(const TensorView& x, bool squares, const TensorView& y) {
  for (int64_t n = 0; n < x.shape[0]; ++n)
    for (int64_t c = 0; c < x.shape[2]; ++c) {
      double sum = 0;
      for (int64_t p = 0; p < x.shape[1]; ++p) sum += squares ? at(x, n, p, c) * at(x, n, p, c) : at(x, n, p, c);
      at(y, n, c) = sum;
    }
}

void channel_affine(const TensorView& x, const TensorView& scale, const TensorView& shift, const TensorView& y) {
  for (int64_t n = 0; n < x.shape[0]; ++n)
    for (int64_t p = 0; p < x.shape[1]; ++p)
      for (int64_t c = 0; c < x.shape[2]; ++c)
        at(y, n, p, c) = at(x, n, p, c) * factor(scale, n, c, 1.0) + factor(shift, n, c, 0.0);
}

void squeeze_excite(const TensorView& x, const SqueezeExcite& s, const TensorView& y) {
  const auto product = [](const TensorView& w, const TensorView& bias, Activation a, const std::vector<double>& v) {
    std::vector<double> result(size_t(w.shape[0]));
    for (int64_t r = 0; r < w.shape[0]; ++r) {
      double sum = bias.defined() ? at(bias, r) : 0.0;
      for (int64_t c = 0; c < w.shape[1]; ++c) sum += at(w, r, c) * v[size_t(c)];
      result[size_t(r)] = activate(a, sum, 0.01);
    }
    return result;
  };
  for (int64_t n = 0; n < x.shape[0]; ++n) {
    std::vector<double> v(size_t(x.shape[2]), 0.0);
    for (int64_t p = 0; p < x.shape[1]; ++p)
      for (int64_t c = 0; c < x.shape[2]; ++c) v[size_t(c)] += at(x, n, p, c) / double(x.shape[1]);
    v = product(s.w2, s.bias2, s.excite, product(s.w1, s.bias1, s.squeeze, v));
    for (int64_t p = 0; p < x.shape[1]; ++p)
      for (int64_t c = 0; c < x.shape[2]; ++c) at(y, n, p, c) = at(x, n, p, c) * v[size_t(c)];
  }
}

void multiply_rows(const TensorView& a, const TensorView& b, const TensorView& y) {
  for (int64_t r = 0; r < a.shape[0]; ++r)
    for (int64_t c = 0; c < a.shape[1]; ++c) at(y, r, c) = at(a, r, c) * at(b, r, c);
}

void activate(const TensorView& x, Activation activation, float negative_slope, const TensorView& y) {
  for (int64_t i = 0; i < x.shape[0]; ++i) at(y, i) = activate(activation, at(x, i), double(negative_slope));
}

void max_pool2d(const TensorView& x, const PoolWindow& w, const TensorView& y) {
  for (int64_t n = 0; n < y.shape[0]; ++n)
    for (int64_t i = 0; i < y.shape[1]; ++i)
      for (int64_t j = 0; j < y.shape[2]; ++j)
        for (int64_t c = 0; c < y.shape[3]; ++c) {
          double best = -std::numeric_limits<double>::infinity();
          for (int64_t a = 0; a < w.kernel[0]; ++a)
            for (int64_t b = 0; b < w.kernel[1]; ++b) {
              const int64_t row = i * w.stride[0] - w.padding[0] + a, column = j * w.stride[1] - w.padding[1] + b;
              if (row < 0 || row >= x.shape[1] || column < 0 || column >= x.shape[2]) continue;
              const double v = at(x, n, row, column, c);
              if (v > best || std::isnan(v)) best = v;
            }
          at(y, n, i, j, c) = best;
        }
}

}  // namespace omniconv::reference
