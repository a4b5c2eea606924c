// tests/cuda/test_bessel.cpp -- the Bessel kernels of CUDA on the emulator, beside those of the CPU, which take numbers
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "omniconv/bessel.hpp"

namespace omniconv {
namespace {

template <class T>
void expect_those_of_the_cpu(int function, double tolerance) {
  // From the least to the largest formula, limits and NaN, all pairs of them.
  const std::vector<T> at = {0,
                             T(1e-30),
                             T(0.05),
                             T(0.7),
                             3,
                             T(7.5),
                             14,
                             23,
                             60,
                             200,
                             T(1e3),
                             T(1e5),
                             T(1e25),
                             -2,
                             -T(1.5),
                             std::numeric_limits<T>::infinity(),
                             std::numeric_limits<T>::quiet_NaN()};
  const auto n = int64_t(at.size());
  std::vector<T> v(at), x(at), out(size_t(n * n), 99), second(size_t(n * n), 99);
  const bool gradient = function >= int(BesselFunction::log_iv_grad);
  evaluate(BesselFunction(function), TensorView(v.data(), {n, 1}), TensorView(x.data(), {n}),
           TensorView(out.data(), {n, n}), gradient ? TensorView(second.data(), {n, n}) : TensorView());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      const T found = out[size_t(i * n + j)];
      SCOPED_TRACE(testing::Message() << "function " << function << " of " << v[size_t(i)] << ", " << x[size_t(j)]);
      EXPECT_NE(found, T(99));
      if (gradient) {
        EXPECT_NE(second[size_t(i * n + j)], T(99));
        continue;
      }
      const T want = evaluate(BesselFunction(function), v[size_t(i)], x[size_t(j)]);
      if (std::isfinite(want))
        EXPECT_NEAR(found, want, tolerance * std::max(1.0, std::fabs(double(want))));
      else
        EXPECT_TRUE(found == want || (std::isnan(found) && std::isnan(want))) << found << " and " << want;
    }
}

TEST(EmulatedBessel, ValuesAreThoseOfTheCpu) {
  for (int function = 0; function <= int(BesselFunction::log_kv_grad); ++function) {
    expect_those_of_the_cpu<double>(function, 8 * 0x1p-52);
    expect_those_of_the_cpu<float>(function, 8 * 0x1p-23);
  }
}

}  // namespace
}  // namespace omniconv
