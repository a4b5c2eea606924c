// The nn family from C++: every instruction set against the float64 reference, in parts of wider rows
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "omniconv/context.hpp"
#include "omniconv/nn.hpp"

namespace omniconv {
namespace {

// [rows, width] inside rows of width + 3 floats, and its copy in float64; NaN around.
struct Pair {
  std::vector<float> narrow;
  std::vector<double> wide;
  TensorView f, d;
  Pair(std::vector<int64_t> shape, unsigned seed) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal;
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
    const int64_t width = shape.back(), step = width + 3;
    narrow.assign(size_t(rows * step), NAN);
    wide.assign(size_t(rows * step), NAN);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < width; ++c) wide[size_t(r * step + c)] = narrow[size_t(r * step + c)] = normal(rng);
    int64_t stride = 1;
    for (TensorView* v : {&f, &d}) {
      v->ndim = int(shape.size());
      stride = 1;
      for (int i = v->ndim - 1; i >= 0; --i) {
        v->shape[size_t(i)] = shape[size_t(i)];
        v->strides[size_t(i)] = stride;
        stride *= i == v->ndim - 1 ? step : shape[size_t(i)];
      }
    }
    f.data = narrow.data();
    d.data = wide.data(), d.dtype = DType::float64;
  }
  void compare(double tolerance) const {
    ASSERT_EQ(narrow.size(), wide.size());
    for (size_t i = 0; i < narrow.size(); ++i) {
      ASSERT_EQ(std::isnan(narrow[i]), std::isnan(wide[i])) << i;
      if (!std::isnan(wide[i])) {
        ASSERT_NEAR(narrow[i], wide[i], tolerance * (1 + std::fabs(wide[i]))) << i;
      }
    }
  }
};

TEST(Nn, EveryLevelAgreesWithTheReference) {
  const Isa before = current_isa();
  for (Isa isa : available_isas()) {
    set_isa(isa);
    for (int64_t c : {1, 5, 16, 32, 37, 100}) {
      Pair x({70, c}, 1), other({70, c}, 2), w({c}, 3), b({c}, 4), y({70, c}, 5);
      layer_norm(x.f, w.f, b.f, 1e-3, true, y.f);
      layer_norm(x.d, w.d, b.d, 1e-3, true, y.d);
      y.compare(3e-6);
      multiply_rows(x.f, other.f, y.f);
      multiply_rows(x.d, other.d, y.d);
      y.compare(1e-7);
      Pair image({2, 131, c}, 6), scale({2, c}, 7), shift({1, c}, 8), out({2, 131, c}, 9), sums({2, c}, 10);
      channel_affine(image.f, scale.f, shift.f, out.f);
      channel_affine(image.d, scale.d, shift.d, out.d);
      out.compare(3e-7);
      channel_sums(image.f, true, sums.f);
      channel_sums(image.d, true, sums.d);
      sums.compare(1e-6);
      for (int64_t hidden : {1, 17, 40}) {
        Pair w1({hidden, c}, 13), w2({c, hidden}, 14), b1({hidden}, 15), b2({c}, 16);
        squeeze_excite(image.f, {w1.f, b1.f, Activation::silu, w2.f, b2.f}, out.f);
        squeeze_excite(image.d, {w1.d, b1.d, Activation::silu, w2.d, b2.d}, out.d);
        out.compare(2e-6);
        squeeze_excite(image.f, {w1.f, {}, Activation::relu, w2.f, {}, Activation::none}, out.f);
        squeeze_excite(image.d, {w1.d, {}, Activation::relu, w2.d, {}, Activation::none}, out.d);
        out.compare(1e-5);
      }
      Pair map({2, 6, 7, c}, 11), pooled({2, 3, 4, c}, 12);
      const PoolWindow window{{3, 3}, {2, 2}, {1, 1}};
      max_pool2d(map.f, window, pooled.f);
      max_pool2d(map.d, window, pooled.d);
      pooled.compare(0);
    }
  }
  set_isa(before);
}

TEST(Nn, ActivationsOfAnyLength) {
  for (int64_t size : {1, 15, 16, 17, 300, 40000}) {
    Pair x({size}, 1), y({size}, 2);
    activate(x.f, Activation::silu, 0.0f, y.f);
    activate(x.d, Activation::silu, 0.0f, y.d);
    y.compare(3e-7);
  }
}

TEST(Nn, ErrorsNameTheArgument) {
  Pair x({4, 6}, 1), y({4, 5}, 2);
  try {
    layer_norm(x.f, {}, {}, 1e-5, true, y.f);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::invalid_argument);
    EXPECT_STREQ(error.what(), "out has shape (4, 5); expected is (4, 6)");
  }
}

}  // namespace
}  // namespace omniconv
