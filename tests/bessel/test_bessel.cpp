// tests/bessel/test_bessel.cpp -- the C++ and C interfaces of the Bessel functions, on every instruction set
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "omniconv/omniconv.hpp"

namespace omniconv {
namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();

// I_{1/2} and K_{1/2} are elementary (DLMF 10.39): sqrt(2 / (pi x)) sinh x and sqrt(pi / (2 x)) e^-x.
TEST(Bessel, HalfOrderIsElementaryOnEveryLevel) {
  const Isa before = current_isa();
  for (Isa isa : available_isas()) {
    set_isa(isa);
    for (double x : {1e-9, 0.05, 0.1, 0.7, 3.0, 7.9, 15.0, 23.9, 24.1, 60.0, 300.0, 1e5}) {
      const double k = 0.5 * std::log(M_PI / (2 * x)) - x;
      const double sinh = x < 1 ? std::log(std::sinh(x)) : x + std::log1p(-std::exp(-2 * x)) - std::log(2.0);
      const double i = 0.5 * std::log(2 / (M_PI * x)) + sinh;
      EXPECT_NEAR(evaluate(BesselFunction::log_kv, 0.5, x), k, 6 * kEps * std::max(1.0, std::fabs(k)))
          << name(isa) << x;
      EXPECT_NEAR(evaluate(BesselFunction::log_iv, 0.5, x), i, 6 * kEps * std::max(1.0, std::fabs(i)))
          << name(isa) << x;
      EXPECT_NEAR(evaluate(BesselFunction::log_iv, 0.5f, float(x)), i, 1e-6 * std::max(1.0, std::fabs(i)));
    }
  }
  set_isa(before);
}

// Poisoned outputs, lengths around the vector, batch and block sizes, values of all regions side by side.
TEST(Bessel, WritesAllAndNothingElse) {
  for (int n : {1, 2, 3, 5, 8, 17, 127, 129, 255, 257, 700, 16385}) {
    std::vector<double> v(n), x(n), out(n + 8, -7.0), second(n + 8, -7.0);
    for (int i = 0; i < n; ++i) {
      v[i] = (i * 37) % 61;
      x[i] = std::ldexp(1.0 + (i % 13) / 13.0, (i * 7) % 24 - 12);
    }
    evaluate(BesselFunction::log_kv_grad, {v.data(), {n}}, {x.data(), {n}}, {out.data(), {n}}, {second.data(), {n}});
    for (int i = 0; i < n; ++i) {
      double dv = 0, dx = 0;
      evaluate(BesselFunction::log_kv_grad, {&v[i], {1}}, {&x[i], {1}}, {&dv, {1}}, {&dx, {1}});
      ASSERT_EQ(out[i], dv) << n << " " << i;
      ASSERT_EQ(second[i], dx) << n << " " << i;
      ASSERT_LT(dx, 0);
    }
    for (int i = n; i < n + 8; ++i) ASSERT_EQ(out[i] + second[i], -14.0);
  }
}

TEST(Bessel, BroadcastsAndChecks) {
  std::vector<double> v{1, 2, 3}, x{1, 2}, out(6), small(5);
  const TensorView vv(v.data(), {3, 1}), xx(x.data(), {2}), oo(out.data(), {3, 2});
  evaluate(BesselFunction::log_iv, vv, xx, oo);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(out[i], evaluate(BesselFunction::log_iv, v[i / 2], x[i % 2]));
  const auto fails = [](auto body, const char* said) {
    try {
      body();
      ADD_FAILURE() << "no error; expected " << said;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(said), std::string::npos) << e.what();
    }
  };
  std::vector<float> f(6);
  fails([&] { evaluate(BesselFunction::log_iv, vv, xx, {small.data(), {5}}); }, "v has shape (3, 1)");
  fails([&] { evaluate(BesselFunction::log_iv, vv, xx, {f.data(), {3, 2}}); }, "out is float32");
  fails([&] { evaluate(BesselFunction::log_iv_grad, vv, xx, oo); }, "second is undefined");
  fails([&] { evaluate(BesselFunction::log_iv, vv, xx, oo, oo); }, "second is defined");
  fails([&] { evaluate(BesselFunction::log_iv, {out.data(), {5}}, TensorView(x.data(), {1}), {&out[1], {5}}); },
        "out overlaps v");
  fails([&] { evaluate(BesselFunction::log_iv_grad, 1.0, 2.0); }, "two outputs");
}

TEST(Bessel, CInterface) {
  double v = 2.5, x = 3.5, out = 0, second = 0;
  int64_t shape[] = {1};
  const auto tensor = [&](double* p) { return DLTensor{p, {kDLCPU, 0}, 1, {kDLFloat, 64, 1}, shape, nullptr, 0}; };
  const DLTensor tv = tensor(&v), tx = tensor(&x), to = tensor(&out), ts = tensor(&second);
  ASSERT_EQ(omniconv_bessel("log_kve", &tv, &tx, &to, nullptr), OMNICONV_OK) << omniconv_last_error();
  EXPECT_EQ(out, evaluate(BesselFunction::log_kve, v, x));
  ASSERT_EQ(omniconv_bessel("log_iv_grad", &tv, &tx, &to, &ts), OMNICONV_OK);
  EXPECT_NEAR(second, v / x + evaluate(BesselFunction::iv_ratio, v, x), 4 * kEps);
  EXPECT_EQ(omniconv_bessel("log_jv", &tv, &tx, &to, nullptr), OMNICONV_INVALID_ARGUMENT);
  EXPECT_NE(std::strstr(omniconv_last_error(), "log_iv, log_kv"), nullptr);
  EXPECT_EQ(omniconv_bessel("log_iv", nullptr, &tx, &to, nullptr), OMNICONV_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace omniconv
