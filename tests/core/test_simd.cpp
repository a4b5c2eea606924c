// tests/core/test_simd.cpp -- vectors and vector math of one ISA; compiled once per level with its flags.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "simd/math.hpp"

namespace {

namespace isa = omniconv::OMNICONV_ISA_NS;
using isa::f32;
using isa::kWidth;

constexpr float kInf = INFINITY, kNan = NAN;

uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
float float_of(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

template <class F>
float apply(F function, float x) {
  float lanes[kWidth];
  isa::store(lanes, function(isa::broadcast(x)));
  return lanes[0];
}

// Memory that ends at a page nobody may touch.
class GuardedFloats {
 public:
  GuardedFloats() : page_(sysconf(_SC_PAGESIZE)) {
    base_ = static_cast<char*>(mmap(nullptr, 2 * page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_ + page_, page_, PROT_NONE);
  }
  ~GuardedFloats() { munmap(base_, 2 * page_); }
  float* last(int n) { return reinterpret_cast<float*>(base_ + page_) - n; }

 private:
  size_t page_;
  char* base_;
};

TEST(Vec, LoadsAndStoresUnaligned) {
  float in[2 * kWidth + 1], out[2 * kWidth + 1];
  for (int i = 0; i < 2 * kWidth + 1; ++i) in[i] = static_cast<float>(i + 1);
  for (int offset = 0; offset <= kWidth; ++offset) {
    std::memset(out, 0, sizeof out);
    isa::store(out + offset, isa::load(in + offset));
    for (int i = 0; i < 2 * kWidth + 1; ++i)
      EXPECT_EQ(out[i], i >= offset && i < offset + kWidth ? in[i] : 0.0f) << offset << " " << i;
  }
}

TEST(Vec, PartialAccessStopsAtTheLastLane) {
  GuardedFloats memory;
  for (int n = 0; n <= kWidth; ++n) {
    float* p = memory.last(n);
    for (int i = 0; i < n; ++i) p[i] = static_cast<float>(i + 1);
    float lanes[kWidth];
    isa::store(lanes, isa::load_partial(p, n));
    for (int i = 0; i < kWidth; ++i) EXPECT_EQ(lanes[i], i < n ? i + 1 : 0) << n << " " << i;
    isa::store_partial(p, isa::broadcast(7.0f), n);
    for (int i = 0; i < n; ++i) EXPECT_EQ(p[i], 7.0f);
    float whole[kWidth] = {};
    isa::store_partial(whole, isa::broadcast(7.0f), n);
    for (int i = 0; i < kWidth; ++i) EXPECT_EQ(whole[i], i < n ? 7.0f : 0.0f) << n << " " << i;
  }
}

TEST(Vec, StreamStoresAtAnyAlignment) {
  alignas(64) float out[3 * kWidth];
  float in[kWidth];
  for (int i = 0; i < kWidth; ++i) in[i] = static_cast<float>(i + 1);
  for (int offset = 0; offset <= kWidth; ++offset) {
    std::memset(out, 0, sizeof out);
    isa::stream_store(out + offset, isa::load(in));
    isa::stream_fence();
    for (int i = 0; i < 3 * kWidth; ++i)
      EXPECT_EQ(out[i], i >= offset && i < offset + kWidth ? in[i - offset] : 0.0f) << offset << " " << i;
  }
}

TEST(Vec, Transposes) {
  float m[kWidth][kWidth];
  f32 rows[kWidth];
  for (int r = 0; r < kWidth; ++r) {
    for (int c = 0; c < kWidth; ++c) m[r][c] = static_cast<float>(r * kWidth + c);
    rows[r] = isa::load(m[r]);
  }
  isa::transpose(rows);
  for (int r = 0; r < kWidth; ++r) {
    float lanes[kWidth];
    isa::store(lanes, rows[r]);
    for (int c = 0; c < kWidth; ++c) EXPECT_EQ(lanes[c], m[c][r]) << r << " " << c;
  }
}

TEST(Vec, MinMaxReturnTheSecondOperandForNan) {
  const auto min = [](float a, float b) { return apply([a](f32 x) { return isa::min(isa::broadcast(a), x); }, b); };
  const auto max = [](float a, float b) { return apply([a](f32 x) { return isa::max(isa::broadcast(a), x); }, b); };
  EXPECT_EQ(min(1, 2), 1);
  EXPECT_EQ(min(2, 1), 1);
  EXPECT_EQ(max(1, 2), 2);
  EXPECT_EQ(max(2, 1), 2);
  EXPECT_TRUE(std::isnan(min(1, kNan)));
  EXPECT_TRUE(std::isnan(max(1, kNan)));
  EXPECT_EQ(min(kNan, 1), 1);
  EXPECT_EQ(max(kNan, 1), 1);
  EXPECT_EQ(bits_of(max(0.0f, -0.0f)), bits_of(-0.0f));
}

TEST(Vec, BroadcastKeepsEveryBit) {
  for (float x : {0.0f, -0.0f, 1.5f, FLT_MAX, -FLT_TRUE_MIN, kInf})
    EXPECT_EQ(bits_of(apply([](f32 v) { return v; }, x)), bits_of(x)) << x;
}

#if defined(__FMA__) || defined(__aarch64__)
TEST(Vec, FmaRoundsOnce) {
  const float a = 1 + FLT_EPSILON, c = -(1 + 2 * FLT_EPSILON);
  EXPECT_EQ(apply([&](f32 x) { return isa::fma(x, x, isa::broadcast(c)); }, a), std::fma(a, a, c));
  EXPECT_NE(std::fma(a, a, c), 0.0f);
}
#endif

// ---- math --------------------------------------------------------------------------------------------------------

// Distance of `got` from `exact` in units of the last place of a float of that size (at least a subnormal's).
double ulps(float got, long double exact) {
  if (std::isnan(exact)) return std::isnan(got) ? 0 : HUGE_VAL;
  const float rounded = static_cast<float>(exact);
  if (std::isinf(rounded) || std::isinf(got)) return got == rounded ? 0 : HUGE_VAL;
  int exponent = -1000;
  if (exact != 0) std::frexp(exact, &exponent);
  return static_cast<double>(std::fabs(got - exact) / std::ldexp(1.0L, std::max(exponent, -125) - 24));
}

// Every 4099th float, all signs and exponents, and the neighbourhoods in which formulas change.
const std::vector<float>& sweep() {
  static const std::vector<float> values = [] {
    std::vector<float> v;
    for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 4099) v.push_back(float_of(bits));
    for (float centre : {0.0f, 0.3465736f, 1.0f, 1.4142135f, 3.0f, 4.0f, 5.6f, 9.0f, 10.0f, 20.0f, 87.33655f, 88.37626f,
                         88.72284f, 89.0f, 103.97208f, 104.0f})
      for (float sign : {1.0f, -1.0f})
        for (int i = -200; i <= 200; ++i)
          if (centre != 0 || i >= 0) v.push_back(sign * float_of(bits_of(centre) + i));
    for (float x : {kInf, -kInf, kNan, -kNan, FLT_MAX, -FLT_MAX, FLT_MIN, -FLT_MIN}) v.push_back(x);
    while (v.size() % kWidth != 0) v.push_back(0);
    return v;
  }();
  return values;
}

// error(got, x) must stay within `limit` over the whole sweep.
template <class F, class E>
void expect_close(F function, E error, double limit) {
  double worst = 0;
  float at = 0, value = 0;
  for (size_t i = 0; i < sweep().size(); i += kWidth) {
    float got[kWidth];
    isa::store(got, function(isa::load(&sweep()[i])));
    for (int lane = 0; lane < kWidth; ++lane) {
      const float x = sweep()[i + lane];
      if (std::isnan(x)) {
        EXPECT_TRUE(std::isnan(got[lane])) << "NaN became " << got[lane];
        continue;
      }
      const double e = error(got[lane], x);
      if (!(e <= worst)) worst = e, at = x, value = got[lane];
    }
  }
  EXPECT_LE(worst, limit) << "at x = " << std::hexfloat << at << ", got " << value;
}

long double exact_sigmoid(long double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }
long double exact_gelu(long double x) { return x / 2 * std::erfc(-x * std::sqrt(0.5L)); }
long double exact_gelu_tanh(long double x) {
  return x * exact_sigmoid(2 * std::sqrt(2 / 3.14159265358979323846264338327950288L) * (x + 0.044715L * x * x * x));
}

#define OMNICONV_EXPECT_ULPS(name, exact, limit) \
  expect_close([](f32 x) { return isa::name(x); }, [](float got, long double x) { return ulps(got, exact); }, limit)

TEST(Math, ExpIsAccurate) { OMNICONV_EXPECT_ULPS(exp, std::exp(x), 1.05); }
TEST(Math, TanhIsAccurate) { OMNICONV_EXPECT_ULPS(tanh, std::tanh(x), 2.55); }
TEST(Math, SigmoidIsAccurate) { OMNICONV_EXPECT_ULPS(sigmoid, exact_sigmoid(x), 2.35); }
TEST(Math, ErfIsAccurate) { OMNICONV_EXPECT_ULPS(erf, std::erf(x), 1.35); }

// x times something that may underflow: relative error, with an absolute floor far below float32's resolution of any
// sum in which the value can take part. -inf gives NaN as the definition does.
#define OMNICONV_EXPECT_RELATIVE(name, exact, limit)                                                                \
  expect_close([](f32 x) { return isa::name(x); },                                                                  \
               [](float got, long double x) -> double {                                                             \
                 if (std::isinf(x)) return x > 0 ? (got == kInf ? 0 : HUGE_VAL) : (std::isnan(got) ? 0 : HUGE_VAL); \
                 if (std::isinf(got)) return got == x ? 0 : HUGE_VAL;                                               \
                 return static_cast<double>(std::fabs(got - (exact)) / (std::fabs(exact) + 1e-30L));                \
               },                                                                                                   \
               limit)

TEST(Math, SiluIsAccurate) { OMNICONV_EXPECT_RELATIVE(silu, x * exact_sigmoid(x), 3e-7); }
TEST(Math, QuickGeluIsAccurate) {
  // The rounding of 1.702 x, 2^-25 relative, becomes 1.702 |x| 2^-25 relative in e^(1.702 x): 4e-6 where that is 1e-30.
  OMNICONV_EXPECT_RELATIVE(quick_gelu, x * exact_sigmoid(1.702L * x), 6e-6);
}
TEST(Math, GeluTanhIsAccurate) { OMNICONV_EXPECT_RELATIVE(gelu_tanh, exact_gelu_tanh(x), 2e-5); }

TEST(Math, GeluIsAccurate) {
  const auto gelu = [](f32 x) { return isa::gelu(x); };
  // Down to -5.6 (4 sqrt 2, the end of the fit) the tail keeps its digits: 1 + erf would have lost all of them there.
  expect_close(
      gelu,
      [](float got, long double x) -> double {
        if (!(x > -5.6L)) return 0;
        if (std::isinf(x)) return got == kInf ? 0 : HUGE_VAL;
        return static_cast<double>(std::fabs(got - exact_gelu(x)) / (std::fabs(exact_gelu(x)) + 1e-30L));
      },
      8e-6);
  expect_close(
      gelu,
      [](float got, long double x) -> double {
        if (std::isinf(x)) return x > 0 ? (got == kInf ? 0 : HUGE_VAL) : (std::isnan(got) ? 0 : HUGE_VAL);
        return static_cast<double>(std::fabs(got - exact_gelu(x)) / (std::fabs(exact_gelu(x)) + 1e-2L));
      },
      7e-7);
}

TEST(Math, PiecewiseLinearActivations) {
  const auto clamp = [](long double x, long double high) { return std::fmin(high, std::fmax(0.0L, x)); };
  OMNICONV_EXPECT_ULPS(relu, std::fmax(0.0L, x), 0);
  expect_close([](f32 x) { return isa::relu6(x); }, [&](float got, long double x) { return ulps(got, clamp(x, 6)); },
               0);
  for (float alpha : {0.01f, 0.25f, 1.5f, 0.0f})
    expect_close([alpha](f32 x) { return isa::leaky_relu(x, alpha); },
                 [alpha](float got, long double x) { return ulps(got, x > 0 ? x : alpha * x); }, 0.5);
  // Below -2 the sum x + 3 cancels, with an error of 2^-24 of x.
  expect_close([](f32 x) { return isa::hardswish(x); },
               [&](float got, long double x) -> double {
                 if (std::isinf(x)) return x > 0 ? got != kInf : !std::isnan(got);
                 const long double exact = x * clamp(x + 3, 6) / 6;
                 if (std::isinf(got))
                   return std::fabs(x) > FLT_MAX / 6.1 ? 0 : 1;  // x * 6 / 6 overflows above FLT_MAX / 6
                 return static_cast<double>(std::fabs(got - exact) / (std::fabs(x) + 1e-30L));
               },
               1.5e-7);
}

TEST(Math, SpecialValues) {
  const auto exp = [](f32 x) { return isa::exp(x); };
  const auto tanh = [](f32 x) { return isa::tanh(x); };
  const auto erf = [](f32 x) { return isa::erf(x); };
  const auto sigmoid = [](f32 x) { return isa::sigmoid(x); };
  EXPECT_EQ(apply(exp, kInf), kInf);
  EXPECT_EQ(apply(exp, FLT_MAX), kInf);
  EXPECT_EQ(bits_of(apply(exp, -kInf)), 0u);
  EXPECT_EQ(bits_of(apply(exp, -FLT_MAX)), 0u);
  EXPECT_EQ(apply(exp, 0.0f), 1.0f);
  EXPECT_LT(apply(exp, 88.72283f), kInf);
  EXPECT_EQ(apply(exp, 88.72284f), kInf);
  EXPECT_EQ(apply(exp, -103.27893f), FLT_TRUE_MIN);
  for (const auto& odd : {+[](float x) { return apply([](f32 v) { return isa::tanh(v); }, x); },
                          +[](float x) { return apply([](f32 v) { return isa::erf(v); }, x); }}) {
    EXPECT_EQ(odd(kInf), 1.0f);
    EXPECT_EQ(odd(-kInf), -1.0f);
    EXPECT_EQ(bits_of(odd(0.0f)), 0u);
    EXPECT_EQ(bits_of(odd(-0.0f)), bits_of(-0.0f));
  }
  EXPECT_EQ(apply(tanh, FLT_TRUE_MIN), FLT_TRUE_MIN);
  EXPECT_EQ(apply(erf, FLT_TRUE_MIN), FLT_TRUE_MIN);
  EXPECT_EQ(apply(erf, 30.0f), 1.0f);
  EXPECT_EQ(apply(sigmoid, kInf), 1.0f);
  EXPECT_EQ(bits_of(apply(sigmoid, -kInf)), 0u);
  EXPECT_EQ(apply(sigmoid, 0.0f), 0.5f);
  EXPECT_EQ(apply([](f32 x) { return isa::gelu(x); }, -FLT_MAX), 0.0f);
  EXPECT_EQ(apply([](f32 x) { return isa::gelu_tanh(x); }, -FLT_MAX), 0.0f);
}

// The bits of f(x) do not depend on the lane, nor on what stands in the other lanes.
template <class F>
void expect_lane_independent(F function) {
  const std::vector<float>& values = sweep();
  for (size_t i = 0; i < values.size(); i += 997) {
    const float x = values[i];
    const uint32_t expected = bits_of(apply(function, x));
    for (int lane = 0; lane < kWidth; ++lane) {
      float lanes[kWidth];
      for (int other = 0; other < kWidth; ++other)
        lanes[other] = values[(i * 31 + other * 7919 + lane) % values.size()];
      lanes[lane] = x;
      float got[kWidth];
      isa::store(got, function(isa::load(lanes)));
      if (std::isnan(x)) continue;
      ASSERT_EQ(bits_of(got[lane]), expected) << x << " in lane " << lane;
    }
  }
}

TEST(Math, BitsDoNotDependOnTheLane) {
  expect_lane_independent([](f32 x) { return isa::exp(x); });
  expect_lane_independent([](f32 x) { return isa::tanh(x); });
  expect_lane_independent([](f32 x) { return isa::erf(x); });
  expect_lane_independent([](f32 x) { return isa::sigmoid(x); });
  expect_lane_independent([](f32 x) { return isa::silu(x); });
  expect_lane_independent([](f32 x) { return isa::gelu(x); });
  expect_lane_independent([](f32 x) { return isa::gelu_tanh(x); });
  expect_lane_independent([](f32 x) { return isa::quick_gelu(x); });
  expect_lane_independent([](f32 x) { return isa::hardswish(x); });
}

}  // namespace
