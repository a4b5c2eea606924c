// nn/nn.cpp -- checks, the table of the current ISA, rows shared out to threads
#include "omniconv/nn.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "conv/kernels.hpp"
#include "conv/operands.hpp"
#include "core/thread_pool.hpp"
#include "core/workspace.hpp"
#include "nn/kernels.hpp"
#include "omniconv/context.hpp"
#include "reference/nn.hpp"

namespace omniconv {
namespace nn {

const Kernels& kernels() {
  switch (current_isa()) {
#ifdef OMNICONV_WITH_AVX512
    case Isa::amx:
    case Isa::avx512vnni:
    case Isa::avx512: return avx512::nn_kernels();
#endif
#ifdef OMNICONV_WITH_AVX2
    case Isa::avx2: return avx2::nn_kernels();
#endif
#ifdef OMNICONV_WITH_NEON
    case Isa::neon: return neon::nn_kernels();
#endif
    default: return scalar::nn_kernels();
  }
}

namespace {

// Of a task: some 20 us of one core, which is far above what handing it over costs.
constexpr int64_t kTaskFloats = 1 << 15;

[[noreturn]] void fail(const char* argument, const std::string& found) {
  throw Error(Code::invalid_argument, std::string(argument) + found);
}

void check(const TensorView& v, const char* argument, const TensorView& like, const int64_t* shape, int ndim) {
  if (v.ndim != ndim || !std::equal(shape, shape + ndim, v.shape.begin()))
    fail(argument, " has shape " + shape_string(v.shape.data(), v.ndim) + "; expected is " + shape_string(shape, ndim));
  if (v.dtype != like.dtype)
    throw Error(Code::type_error,
                std::string(argument) + " has dtype " + name(v.dtype) + "; x has " + name(like.dtype));
  if (v.shape[ndim - 1] > 1 && v.strides[ndim - 1] != 1) fail(argument, " has channels that are not adjacent");
}

void check_axes(const TensorView& x, const char* argument, int ndim) {
  if (x.ndim != ndim) fail(argument, " has " + std::to_string(x.ndim) + " axes; expected are " + std::to_string(ndim));
  if (x.dtype != DType::float32 && x.dtype != DType::float64)
    throw Error(Code::type_error, std::string(argument) + " has dtype " + name(x.dtype) + "; allowed are floats");
}

// [C], or [1, C] and [N, C] where n is given.
void check_factor(const TensorView& v, const char* argument, const TensorView& x, int64_t n = -1) {
  if (!v.defined()) return;
  const int64_t c = x.shape[x.ndim - 1];
  if (n < 0) return check(v, argument, x, &c, 1);
  const int64_t shape[] = {v.ndim == 2 && v.shape[0] == 1 ? 1 : n, c};
  check(v, argument, x, shape, 2);
}

const float* floats(const TensorView& v) { return static_cast<const float*>(v.data); }

// body(first, count) over pieces of `rows` rows of `width` floats.
template <class Body>
void rows_to_threads(int64_t rows, int64_t width, Body&& body) {
  const int64_t each = std::max<int64_t>(1, kTaskFloats / std::max<int64_t>(1, width));
  parallel_for((rows + each - 1) / each,
               [&](int64_t task, int) { body(task * each, std::min(each, rows - task * each)); });
}

// The epilogue of a convolution without the convolution: "pixels" of kLanes channels, whatever the vector is.
constexpr int64_t kLanes = 16;

void activate_rows(const float* from, float* to, int64_t rows, Activation activation, float negative_slope) {
  conv::FinishArgs a{};
  a.c = from, a.panel = a.channels = a.y_pixel = kLanes, a.pixels = rows;
  a.y = to, a.y_channel = 1, a.activation = activation, a.negative_slope = negative_slope;
  conv::kernels().finish(a);
}

// The last count % kLanes of `count` floats.
void activate_rest(const float* from, float* to, int64_t count, Activation activation, float negative_slope) {
  const int64_t done = count / kLanes * kLanes;
  float tail[kLanes] = {};
  std::copy_n(from + done, count - done, tail);
  activate_rows(tail, tail, 1, activation, negative_slope);
  std::copy_n(tail, count - done, to + done);
}

// y [N, rows of w] = activation(w x + bias) for x [N, columns of w], both dense.
void products(const float* x, int64_t images, const TensorView& w, const TensorView& bias, Activation activation,
              float* y) {
  const int64_t rows = w.shape[0], width = w.shape[1];
  const int64_t each = std::clamp<int64_t>(kTaskFloats / std::max<int64_t>(1, width) / kLanes * kLanes, kLanes,
                                           std::max<int64_t>(kLanes, rows));
  const int64_t pieces = (rows + each - 1) / each;
  parallel_for(images * pieces, [&](int64_t task, int) {
    const int64_t n = task / pieces, first = task % pieces * each, count = std::min(each, rows - first);
    float* to = y + n * rows + first;
    kernels().product({floats(w) + first * w.strides[0], w.strides[0], count, width, x + n * width,
                       bias.defined() ? floats(bias) + first : nullptr, to});
    if (activation == Activation::none) return;
    activate_rows(to, to, count / kLanes, activation, 0.01f);
    activate_rest(to, to, count, activation, 0.01f);
  });
}

}  // namespace
}  // namespace nn

using namespace nn;

void layer_norm(const TensorView& x, const TensorView& weight, const TensorView& bias, double eps, bool centred,
                const TensorView& y) {
  check_axes(x, "x", 2);
  check(x, "x", x, x.shape.data(), 2);
  check(y, "out", x, x.shape.data(), 2);
  check_factor(weight, "weight", x);
  check_factor(bias, "bias", x);
  if (x.dtype == DType::float64) return reference::layer_norm(x, weight, bias, eps, centred, y);
  const int64_t width = x.shape[1];
  rows_to_threads(x.shape[0], width, [&](int64_t first, int64_t count) {
    kernels().norm({floats(x) + first * x.strides[0], x.strides[0], count, width, floats(weight), floats(bias), eps,
                    centred, static_cast<float*>(y.data) + first * y.strides[0], y.strides[0]});
  });
}

void channel_sums(const TensorView& x, bool squares, const TensorView& y) {
  check_axes(x, "x", 3);
  check(x, "x", x, x.shape.data(), 3);
  const int64_t n = x.shape[0], c = x.shape[2], shape[] = {n, c}, strips = (c + kStrip - 1) / kStrip;
  check(y, "out", x, shape, 2);
  if (x.dtype == DType::float64) return reference::channel_sums(x, squares, y);
  parallel_for(n * strips, [&](int64_t task, int) {
    const int64_t image = task / strips, from = task % strips * kStrip;
    kernels().sums({floats(x) + image * x.strides[0] + from, x.strides[1], x.shape[1], std::min(kStrip, c - from),
                    squares, static_cast<float*>(y.data) + image * y.strides[0] + from});
  });
}

void channel_affine(const TensorView& x, const TensorView& scale, const TensorView& shift, const TensorView& y) {
  check_axes(x, "x", 3);
  check(x, "x", x, x.shape.data(), 3);
  check(y, "out", x, x.shape.data(), 3);
  check_factor(scale, "scale", x, x.shape[0]);
  check_factor(shift, "shift", x, x.shape[0]);
  if (x.dtype == DType::float64) return reference::channel_affine(x, scale, shift, y);
  const int64_t rows = x.shape[1], c = x.shape[2];
  const auto of_image = [](const TensorView& v, int64_t n) {
    return v.defined() ? floats(v) + (v.shape[0] == 1 ? 0 : n) * v.strides[0] : nullptr;
  };
  const int64_t each = std::clamp<int64_t>(kTaskFloats / std::max<int64_t>(1, c), 1, std::max<int64_t>(1, rows));
  const int64_t pieces = (rows + each - 1) / each;
  parallel_for(x.shape[0] * pieces, [&](int64_t task, int) {
    const int64_t n = task / pieces, first = task % pieces * each;
    kernels().affine({floats(x) + n * x.strides[0] + first * x.strides[1], x.strides[1], std::min(each, rows - first),
                      c, of_image(scale, n), of_image(shift, n), nullptr, 0,
                      static_cast<float*>(y.data) + n * y.strides[0] + first * y.strides[1], y.strides[1]});
  });
}

void squeeze_excite(const TensorView& x, const SqueezeExcite& s, const TensorView& y) {
  check_axes(x, "x", 3);
  check(x, "x", x, x.shape.data(), 3);
  check(y, "out", x, x.shape.data(), 3);
  const int64_t n = x.shape[0], c = x.shape[2];
  check_axes(s.w1, "w1", 2);
  const int64_t hidden = s.w1.shape[0], down[] = {hidden, c}, up[] = {c, hidden};
  check(s.w1, "w1", x, down, 2);
  check(s.w2, "w2", x, up, 2);
  if (s.bias1.defined()) check(s.bias1, "bias1", x, &hidden, 1);
  check_factor(s.bias2, "bias2", x);
  if (y.size() == 0) return;
  if (x.dtype == DType::float64) return reference::squeeze_excite(x, s, y);
  const ScopedWorkspace scratch(size_t(n * (2 * c + hidden)) * sizeof(float));
  float *means = static_cast<float*>(scratch.data()), *squeezed = means + n * c, *factors = squeezed + n * hidden;
  channel_sums(x, false, conv::dense_view(means, DType::float32, {n, c}));
  for (int64_t i = 0; i < n * c; ++i) means[i] /= float(x.shape[1]);
  products(means, n, s.w1, s.bias1, s.squeeze, squeezed);
  products(squeezed, n, s.w2, s.bias2, s.excite, factors);
  channel_affine(x, conv::dense_view(factors, DType::float32, {n, c}), {}, y);
}

void multiply_rows(const TensorView& a, const TensorView& b, const TensorView& y) {
  check_axes(a, "a", 2);
  check(a, "a", a, a.shape.data(), 2);
  check(b, "b", a, a.shape.data(), 2);
  check(y, "out", a, a.shape.data(), 2);
  if (a.dtype == DType::float64) return reference::multiply_rows(a, b, y);
  rows_to_threads(a.shape[0], a.shape[1], [&](int64_t first, int64_t count) {
    kernels().affine({floats(a) + first * a.strides[0], a.strides[0], count, a.shape[1], nullptr, nullptr,
                      floats(b) + first * b.strides[0], b.strides[0],
                      static_cast<float*>(y.data) + first * y.strides[0], y.strides[0]});
  });
}

void activate(const TensorView& x, Activation activation, float negative_slope, const TensorView& y) {
  check_axes(x, "x", 1);
  check(x, "x", x, x.shape.data(), 1);
  check(y, "out", x, x.shape.data(), 1);
  if (x.dtype == DType::float64) return reference::activate(x, activation, negative_slope, y);
  float* to = static_cast<float*>(y.data);
  rows_to_threads(x.shape[0] / kLanes, kLanes, [&](int64_t first, int64_t count) {
    activate_rows(floats(x) + first * kLanes, to + first * kLanes, count, activation, negative_slope);
  });
  activate_rest(floats(x), to, x.shape[0], activation, negative_slope);
}

void max_pool2d(const TensorView& x, const PoolWindow& window, const TensorView& y) {
  check_axes(x, "x", 4);
  check(x, "x", x, x.shape.data(), 4);
  check_axes(y, "out", 4);
  const int64_t shape[] = {x.shape[0], y.shape[1], y.shape[2], x.shape[3]};
  check(y, "out", x, shape, 4);
  for (int i = 0; i < 2; ++i) {
    const int64_t k = window.kernel[i], s = window.stride[i], p = window.padding[i], in = x.shape[i + 1];
    if (k < 1 || s < 1 || p < 0)
      fail("window", " has kernel " + std::to_string(k) + ", stride " + std::to_string(s) + ", padding " +
                         std::to_string(p) + "; allowed are at least 1, 1 and 0");
    const int64_t last = (y.shape[i + 1] - 1) * s - p;  // where the last window begins
    if (y.shape[i + 1] > 0 && (p >= k || last >= in || in < 1))
      fail("window", " of " + std::to_string(k) + " lies outside of an axis of " + std::to_string(in));
  }
  if (x.dtype == DType::float64) return reference::max_pool2d(x, window, y);
  parallel_for(y.shape[0] * y.shape[1], [&](int64_t task, int) {
    const int64_t n = task / y.shape[1], row = task % y.shape[1];
    const int64_t at = row * window.stride[0] - window.padding[0];
    const int64_t low = std::max<int64_t>(0, -at), high = std::min(window.kernel[0], x.shape[1] - at);
    kernels().max_pool({floats(x) + n * x.strides[0] + (at + low) * x.strides[1], high - low, window.kernel[1],
                        x.strides[1], x.strides[2], -window.padding[1], window.stride[1], x.shape[2], y.shape[2],
                        y.shape[3], static_cast<float*>(y.data) + n * y.strides[0] + row * y.strides[1], y.strides[2]});
  });
}

}  // namespace omniconv
