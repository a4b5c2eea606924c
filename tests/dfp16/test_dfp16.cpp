// tests/dfp16/test_dfp16.cpp -- kernels of every ISA, the C++ interface, plans of Precision::dfp16
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "dfp16/kernels.hpp"
#include "omniconv/omniconv.hpp"

namespace omniconv {
namespace {

class EveryIsa : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override { set_isa(GetParam()); }
  void TearDown() override { set_isa(available_isas().back()); }
};
INSTANTIATE_TEST_SUITE_P(Dfp16, EveryIsa, testing::ValuesIn(available_isas()),
                         [](const auto& info) { return std::string(name(info.param)); });

// By way of the nearest double, sums just above the middle of two float32 would round down.
TEST_P(EveryIsa, FloatIsRoundedOnce) {
  const dfp16::Kernels& k = dfp16::kernels();
  std::vector<int64_t> sums;
  for (int exponent : {24, 40, 50, 53, 54, 60, 62})
    for (int64_t sign : {1, -1})
      for (int64_t low : {-1, 0, 1}) {
        const int64_t one = int64_t{1} << exponent;
        sums.push_back(sign * (one + (one >> 24) + low));      // beside a tie that rounds to even down
        sums.push_back(sign * (one + 3 * (one >> 24) + low));  // and one that rounds up
      }
  const int64_t count = int64_t(sums.size());
  sums.resize(sums.size() + 64);
  std::vector<float> out(sums.size());
  k.to_float({sums.data(), count, false, false, 0x1p-70, nullptr, out.data()});
  for (int64_t i = 0; i < count; ++i)  // from int64 to float32 there is one rounding
    EXPECT_EQ(out[i], std::ldexp(float(sums[i]), -70)) << sums[i];
}

TEST_P(EveryIsa, SmallSumsToFloatAndDigitsTogether) {
  const dfp16::Kernels& k = dfp16::kernels();
  std::mt19937_64 random(1);
  std::vector<int64_t> sums(4 * k.lanes);
  for (int64_t& s : sums) s = int64_t(random()) >> 14;
  std::vector<float> out(sums.size());
  k.to_float({sums.data(), int64_t(sums.size()), false, true, 0x1p-31, nullptr, out.data()});
  for (size_t i = 0; i < sums.size(); ++i) EXPECT_EQ(out[i], std::ldexp(float(sums[i]), -31));
  for (int64_t& s : sums) s >>= 8;
  k.to_float({sums.data(), 2 * k.lanes, true, true, 1.0, nullptr, out.data()});
  for (int j = 0; j < 2 * k.lanes; ++j) {
    const int64_t* high = sums.data() + j / k.width * k.lanes + j % k.width;
    EXPECT_EQ(out[j], float(high[0] * 256 + high[k.width]));
  }
}

TEST_P(EveryIsa, MantissasConvolveExactly) {
  std::mt19937 random(2);
  std::vector<int16_t> x(2 * 5 * 7 * 6), w(9 * 5 * 3 * 3);
  for (auto* v : {&x, &w})
    for (int16_t& m : *v) m = int16_t(random());
  std::vector<int64_t> y(2 * 9 * 7 * 6);
  int32_t zero = 0;
  const TensorView e(&zero, DType::int32, {1});
  const dfp16::Report report = dfp16::convolve(
      {.pad_lo = {1, 1}, .pad_hi = {1, 1}}, {.a_bits = 16, .b_bits = 16},
      {TensorView(x.data(), DType::int16, {2, 5, 7, 6}), TensorView(w.data(), DType::int16, {9, 5, 3, 3}),
       TensorView(y.data(), DType::int64, {2, 9, 7, 6}), TensorView(), e, e});
  EXPECT_TRUE(report.certified);
  for (int n = 0; n < 2; ++n)
    for (int co = 0; co < 9; ++co)
      for (int i = 0; i < 7; ++i)
        for (int j = 0; j < 6; ++j) {
          int64_t sum = 0;
          for (int ci = 0; ci < 5; ++ci)
            for (int a = 0; a < 3; ++a)
              for (int b = 0; b < 3; ++b) {
                const int h = i + a - 1, v = j + b - 1;
                if (h < 0 || h >= 7 || v < 0 || v >= 6) continue;
                sum += int64_t(x[((n * 5 + ci) * 7 + h) * 6 + v]) * w[((co * 5 + ci) * 3 + a) * 3 + b];
              }
          ASSERT_EQ(y[((n * 9 + co) * 7 + i) * 6 + j], sum);
        }
}

TEST(Dfp16, PlanPacksOnceAndCallsWithoutAPlanAgree) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(3 * 16 * 9 * 9), w(8 * 16 * 3 * 3), one(3 * 8 * 7 * 7), two(one.size());
  for (auto* v : {&x, &w})
    for (float& f : *v) f = normal(random);
  const TensorView xv(x.data(), {3, 16, 9, 9}), wv(w.data(), {8, 16, 3, 3});
  ConvDesc desc;
  desc.take_shapes(xv, wv);
  desc.precision = Precision::dfp16;
  ConvPlan plan(desc);
  plan.pack(wv);
  EXPECT_GT(plan.packed_bytes(), 0u);
  plan.run({.a = xv, .out = TensorView(one.data(), {3, 8, 7, 7})});
  convolve(desc, {.a = xv, .b = wv, .out = TensorView(two.data(), {3, 8, 7, 7})});
  EXPECT_EQ(one, two);
  EXPECT_NE(plan.explain().find("dfp16"), std::string::npos);
  ConvDesc wide = desc;
  wide.dtype = DType::float64;
  EXPECT_THROW(ConvPlan{wide}, Error);
}

TEST(Dfp16, IntegersAreNoOperandsOfOtherConvolutions) {
  std::vector<int16_t> x(32), w(32), y(32);
  const TensorView xv(x.data(), DType::int16, {1, 2, 4, 4}), wv(w.data(), DType::int16, {2, 2, 1, 1});
  EXPECT_THROW(convolve({}, {.a = xv, .b = wv, .out = TensorView(y.data(), DType::int16, {1, 2, 4, 4})}), Error);
}

}  // namespace
}  // namespace omniconv
