// tests/conv/conv_testing.hpp -- arrays in any layout, a table of problems, and the oracle for all of them
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "conv/kernels.hpp"
#include "omniconv/context.hpp"
#include "omniconv/conv.hpp"

namespace omniconv::testing {

using Shape = std::vector<int64_t>;

// Where the elements of an array lie. The cropped ones are parts of a larger array; `scattered` has no axis of stride 1
// and the batch innermost; `reversed` has negative strides.
enum class Order { channels_first, channels_last, cropped_first, cropped_last, scattered, reversed };
inline constexpr Order kOrders[] = {Order::channels_first, Order::channels_last, Order::cropped_first,
                                    Order::cropped_last,   Order::scattered,     Order::reversed};
inline Order next(Order order, int by) { return kOrders[(int(order) + by) % std::size(kOrders)]; }

inline int64_t count_of(const Shape& shape) {
  int64_t n = 1;
  for (int64_t size : shape) n *= size;
  return n;
}

// An array with memory of its own. Whatever lies beside its elements is a NaN of one bit pattern: read, it spoils the
// result; overwritten, untouched() tells.
template <class T>
class Array {
 public:
  Array(const Shape& shape, Order order, unsigned seed = 0) : count_(count_of(shape)) {
    view_.dtype = sizeof(T) == 4 ? DType::float32 : DType::float64;
    view_.ndim = int(shape.size());
    std::copy(shape.begin(), shape.end(), view_.shape.begin());
    const int64_t first = place(order);
    memory_.resize(size_t(kGuard + reach_ + kGuard));
    for (T& value : memory_) value = canary();
    view_.data = memory_.data() + kGuard + first;
    if (seed == 0) return;
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;  // of float for every T, so that a double copy has the same values
    for (int64_t i = 0; i < count_; ++i) at(i) = T(normal(random));
  }

  const TensorView& view() const { return view_; }

  // Element i in the order of the shape.
  T& at(int64_t i) const {
    int64_t offset = 0;
    for (int axis = view_.ndim - 1; axis >= 0; --axis) {
      offset += i % view_.shape[axis] * view_.strides[axis];
      i /= view_.shape[axis];
    }
    return static_cast<T*>(view_.data)[offset];
  }

  std::vector<T> values() const {
    std::vector<T> v(static_cast<size_t>(count_));
    for (int64_t i = 0; i < count_; ++i) v[i] = at(i);
    return v;
  }

  void fill(T value) const {
    for (int64_t i = 0; i < count_; ++i) at(i) = value;
  }

  // Whether all memory beside the elements is as it was. Only for arrays without canaries among their elements.
  bool untouched() const {
    int64_t same = 0;
    const T c = canary();
    for (const T& value : memory_) same += std::memcmp(&value, &c, sizeof(T)) == 0;
    return same == int64_t(memory_.size()) - count_;
  }

 private:
  static constexpr int64_t kGuard = 64;

  static T canary() { return T(std::nan("0x1234")); }

  // Sets strides; returns the place of the first element and sets how far all of them reach.
  int64_t place(Order order) {
    std::vector<int> axes;  // innermost first
    for (int i = view_.ndim - 1; i >= 0; --i) axes.push_back(i);
    const bool last = order == Order::channels_last || order == Order::cropped_last;
    if (last && view_.ndim > 2) axes.insert(axes.begin(), 1), axes.erase(axes.end() - 2);
    if (order == Order::scattered) std::reverse(axes.begin(), axes.end());
    const int64_t gap = order == Order::channels_first || order == Order::channels_last ? 0 : 3;
    int64_t stride = order == Order::scattered ? 2 : 1, first = 0;
    for (int axis : axes) {
      const bool reversed = order == Order::reversed && axis != 0;
      view_.strides[axis] = reversed ? -stride : stride;
      if (reversed) first += (view_.shape[axis] - 1) * stride;
      stride *= std::max<int64_t>(1, view_.shape[axis]) + gap;
    }
    reach_ = count_ == 0 ? 0 : stride;
    return count_ == 0 ? 0 : first;
  }

  TensorView view_;
  int64_t count_, reach_ = 0;
  std::vector<T> memory_;
};

inline double relative_error(const std::vector<float>& found, const std::vector<double>& expected) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += (found[i] - expected[i]) * (found[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

// Everything one run of a description reads and writes, with values that depend on nothing but the description's
// shapes.
template <class T>
struct Arrays {
  Array<T> a, b, out, bias, scale, residual;
  bool epilogue;

  ConvOperands operands() const {
    ConvOperands o{.a = a.view(), .b = b.view(), .out = out.view()};
    if (!epilogue) return o;
    o.bias = bias.view();
    o.scale = scale.view();
    o.residual = residual.view();
    return o;
  }
};

// `order` is that of a; the other arrays take the ones that follow, so that all pairs of layouts meet.
template <class T>
Arrays<T> make_arrays(const ConvDesc& d, Order order, bool epilogue, bool mixed = true) {
  const Shape y = conv_output_shape(d), &x = d.x_shape, &w = d.w_shape;
  const bool forward = d.op == ConvOp::forward, grad_weight = d.op == ConvOp::grad_weight;
  const Shape& out = forward ? y : grad_weight ? w : x;
  const Shape channels{forward ? w[0] : x[1]};
  const auto other = [&](int by) { return mixed ? next(order, by) : order; };
  const Order weights = mixed ? next(order, 3) : Order::channels_first;
  return {Array<T>(forward ? x : y, order, 1),
          Array<T>(grad_weight ? x : w, grad_weight ? other(1) : weights, 2),
          Array<T>(out, grad_weight ? weights : other(1)),
          Array<T>(channels, mixed ? Order::scattered : Order::channels_first, 3),
          Array<T>(channels, Order::channels_first, 4),
          Array<T>(out, other(2), 5),
          epilogue && !grad_weight};
}

// The result in float64, as the reference computes it.
inline std::vector<double> oracle(ConvDesc d, bool epilogue) {
  d.dtype = DType::float64;
  d.algorithm = "reference";
  const Arrays<double> arrays = make_arrays<double>(d, Order::channels_first, epilogue, false);
  ConvPlan(d).run(arrays.operands());
  return arrays.out.values();
}

struct Case {
  const char* name;
  ConvDesc desc;
};

// Small, and each with a reason. K beyond 512 is a sum in several blocks; more than 512 columns are several blocks.
inline const std::vector<Case>& cases() {
  using enum PaddingMode;
  static const std::vector<Case> all{
      {"pointwise", {.x_shape = {2, 5, 6, 7}, .w_shape = {19, 5, 1, 1}}},
      {"padded 3x3", {.x_shape = {2, 6, 9, 8}, .w_shape = {33, 6, 3, 3}, .pad_lo = {1, 1}, .pad_hi = {1, 1}}},
      {"one channel", {.x_shape = {1, 1, 7, 9}, .w_shape = {1, 1, 3, 3}, .pad_lo = {1, 1}, .pad_hi = {1, 1}}},
      {"stem", {.x_shape = {1, 3, 19, 23}, .w_shape = {16, 3, 7, 7}, .stride = {4, 4}, .pad_lo = {3, 3}}},
      {"long sums", {.x_shape = {1, 70, 6, 5}, .w_shape = {20, 70, 3, 3}, .pad_lo = {1, 1}, .pad_hi = {1, 1}}},
      {"wide", {.x_shape = {1, 2, 2, 1100}, .w_shape = {3, 2, 1, 3}, .pad_lo = {0, 1}, .pad_hi = {0, 1}}},
      {"stride beyond kernel", {.x_shape = {2, 3, 11, 13}, .w_shape = {5, 3, 2, 2}, .stride = {3, 5}}},
      {"stride and dilation",
       {.x_shape = {1, 4, 14, 15}, .w_shape = {6, 4, 3, 3}, .stride = {2, 3}, .dilation = {3, 2}}},
      {"even dilation and stride",
       {.x_shape = {1, 2, 15, 16}, .w_shape = {3, 2, 3, 3}, .stride = {2, 4}, .dilation = {2, 2}, .pad_lo = {2, 3}}},
      {"one-sided padding", {.x_shape = {1, 3, 6, 7}, .w_shape = {4, 3, 3, 2}, .pad_lo = {0, 4}, .pad_hi = {5, 0}}},
      {"window of the whole input", {.x_shape = {3, 8, 5, 4}, .w_shape = {10, 8, 5, 4}}},
      {"mostly border", {.x_shape = {1, 2, 2, 1}, .w_shape = {3, 2, 5, 5}, .pad_lo = {3, 4}, .pad_hi = {4, 3}}},
      {"groups", {.x_shape = {2, 6, 7, 6}, .w_shape = {9, 2, 3, 3}, .pad_lo = {1, 1}, .pad_hi = {1, 1}, .groups = 3}},
      {"depthwise",
       {.x_shape = {1, 17, 8, 9}, .w_shape = {17, 1, 3, 5}, .stride = {1, 2}, .pad_lo = {1, 2}, .groups = 17}},
      {"depth multiplier", {.x_shape = {1, 4, 6, 6}, .w_shape = {12, 1, 3, 3}, .groups = 4}},
      {"reflect",
       {.x_shape = {1, 3, 6, 5}, .w_shape = {4, 3, 3, 3}, .pad_lo = {2, 4}, .pad_hi = {5, 1}, .padding_mode = reflect}},
      {"replicate",
       {.x_shape = {2, 3, 4, 5},
        .w_shape = {4, 3, 3, 3},
        .stride = {2, 1},
        .pad_lo = {2, 7},
        .padding_mode = replicate}},
      {"circular",
       {.x_shape = {1, 3, 4, 5},
        .w_shape = {4, 3, 3, 3},
        .dilation = {1, 2},
        .pad_lo = {4, 5},
        .pad_hi = {1, 2},
        .padding_mode = circular}},
      {"circular with groups",
       {.x_shape = {1, 4, 5, 5},
        .w_shape = {6, 2, 2, 2},
        .stride = {2, 2},
        .pad_hi = {1, 1},
        .groups = 2,
        .padding_mode = circular}},
      {"1-D causal", {.spatial = 1, .x_shape = {2, 5, 40}, .w_shape = {7, 5, 4}, .dilation = {3}, .pad_lo = {9}}},
      {"1-D one output", {.spatial = 1, .x_shape = {1, 3, 9}, .w_shape = {2, 3, 9}}},
      {"3-D",
       {.spatial = 3,
        .x_shape = {2, 3, 5, 6, 4},
        .w_shape = {5, 3, 3, 2, 3},
        .stride = {2, 1, 1},
        .pad_lo = {1, 0, 1},
        .pad_hi = {1, 1, 1}}},
      {"3-D reflect with dilation",
       {.spatial = 3,
        .x_shape = {1, 2, 4, 5, 6},
        .w_shape = {4, 2, 2, 3, 2},
        .stride = {1, 2, 3},
        .dilation = {2, 1, 2},
        .pad_lo = {1, 2, 3},
        .pad_hi = {2, 1, 0},
        .padding_mode = reflect}},
      {"output padding",
       {.x_shape = {1, 3, 12, 13}, .w_shape = {4, 3, 3, 3}, .stride = {3, 2}, .output_padding = {2, 1}}},
      {"last row unused", {.x_shape = {2, 3, 10, 12}, .w_shape = {4, 3, 3, 3}, .stride = {3, 4}}},
      {"no images", {.x_shape = {0, 3, 6, 6}, .w_shape = {4, 3, 3, 3}}},
  };
  return all;
}

inline constexpr ConvOp kOps[] = {ConvOp::forward, ConvOp::grad_input, ConvOp::grad_weight};
inline const char* name(ConvOp op) {
  return op == ConvOp::forward ? "forward" : op == ConvOp::grad_input ? "grad_input" : "grad_weight";
}

// The levels to test: all, but where everything is ten times slower only those with kernels of their own.
inline std::vector<Isa> levels() {
  std::vector<Isa> levels;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  const Isa before = current_isa();
  const conv::Kernels* last = nullptr;
  for (Isa isa : available_isas()) {
    set_isa(isa);
    if (&conv::kernels() != last) levels.push_back(isa);
    last = &conv::kernels();
  }
  set_isa(before);
#else
  levels = available_isas();
#endif
  return levels;
}

// The layouts to test: all, but where everything is ten times slower two in turn.
inline std::vector<Order> orders([[maybe_unused]] int turn) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return {kOrders[2 * turn % std::size(kOrders)], kOrders[(2 * turn + 1) % std::size(kOrders)]};
#else
  return {std::begin(kOrders), std::end(kOrders)};
#endif
}

// The best level of this machine and one thread, from the start and again at the end of a test, however it ends.
struct Settings {
  Settings() { reset(); }
  ~Settings() { reset(); }
  static void reset() {
    set_isa(available_isas().back());
    set_num_threads(1);
  }
};

// The code of the Error that `action` throws, which has to say each of `parts`; Code::ok without one.
template <class Action>
Code error_code(Action&& action, std::initializer_list<const char*> parts) {
  try {
    action();
  } catch (const Error& error) {
    for (const char* part : parts)
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
          << "'" << part << "' is not in: " << error.what();
    return error.code();
  }
  return Code::ok;
}

}  // namespace omniconv::testing
