// tests/conv/test_winograd.cpp -- Winograd: matrices, transforms, errors, what one bad value reaches
#include <set>

#include "conv/conv_testing.hpp"
#include "conv/cook_toom.hpp"

namespace omniconv {
namespace {

using namespace omniconv::testing;
using conv::CookToom;
using conv::kWinogradVariants;
using conv::WinogradVariant;

// body.operator()<I>() for every variant of the list.
template <int I = 0, class Body>
void for_each_variant(Body&& body) {
  if constexpr (I < conv::kWinogradCount) {
    body.template operator()<I>();
    for_each_variant<I + 1>(body);
  }
}

template <class T>
void expect_correlation() {
  static constexpr T t{};
  for (int j = 0; j < T::kOutputs; ++j)
    for (int r = 0; r < T::kTaps; ++r)
      for (int x = 0; x < T::kSize; ++x) {
        double sum = 0;
        for (int i = 0; i < T::kSize; ++i) sum += t.a[j][i] * t.g[i][r] * t.b[i][x];
        EXPECT_NEAR(sum, x == j + r, 1e-14) << "F(" << T::kOutputs << ", " << T::kTaps << ")";
      }
  for (int i = 0; i < T::kSize; ++i)
    for (int x = 0; x < T::kSize; ++x) EXPECT_EQ(double(float(t.b[i][x])), t.b[i][x]) << "B is exact in float32";
}

TEST(CookToom, IsTheCorrelation) {
  for_each_variant([]<int I>() {
    constexpr WinogradVariant v = kWinogradVariants[I];
    expect_correlation<CookToom<v.m_h, v.r_h>>();
    expect_correlation<CookToom<v.m_w, v.r_w>>();
  });
  expect_correlation<CookToom<2, 1>>();  // the row pairs of winograd_2x1
  expect_correlation<CookToom<2, 2>>();
  expect_correlation<CookToom<2, 3>>();
  expect_correlation<CookToom<2, 4>>();
}

// One tile of two channels through the three transforms of a level: its outputs are the correlation.
template <int I>
void check_transforms(const conv::Kernels& k) {
  constexpr WinogradVariant v = kWinogradVariants[I];
  constexpr int f = v.frequencies();
  const int64_t lanes = k.lanes, stride = 64;
  std::mt19937 random(I + 1);
  std::normal_distribution<float> normal;
  std::vector<float> x(size_t(v.n_h() * v.n_w() * 2)), w(size_t(v.r_w * v.r_h * 2 * lanes)), u(size_t(f * 2 * lanes)),
      tile(size_t(f * stride)), c(size_t(f * lanes)), y(size_t(v.m_h * v.m_w * lanes), -1);
  for (float& value : x) value = normal(random);
  for (float& value : w) value = normal(random);
  k.winograd[I].input({x.data(), 2 * v.n_w(), 2, 0, tile.data(), stride, stride, 1, 2});
  k.winograd[I].weights({w.data(), lanes, 2, 1, v.r_h, v.r_w, 1, 1, u.data()});
  for (int i = 0; i < f; ++i)
    for (int64_t l = 0; l < lanes; ++l)
      c[i * lanes + l] = tile[i * stride] * u[i * 2 * lanes + l] + tile[i * stride + 1] * u[(i * 2 + 1) * lanes + l];
  k.winograd[I].output({c.data(), lanes, y.data(), lanes, 1, v.m_h, v.m_w});
  std::vector<double> expected;
  for (int h = 0; h < v.m_h; ++h)
    for (int j = 0; j < v.m_w; ++j)
      for (int64_t l = 0; l < lanes; ++l) {
        double sum = 0;
        for (int kw = 0; kw < v.r_w; ++kw)
          for (int kh = 0; kh < v.r_h; ++kh)
            for (int ci = 0; ci < 2; ++ci)
              sum += double(x[((h + kh) * v.n_w() + j + kw) * 2 + ci]) * w[((kw * v.r_h + kh) * 2 + ci) * lanes + l];
        expected.push_back(sum);
      }
  EXPECT_LE(relative_error(y, expected), 4e-6);
}

TEST(Winograd, TransformsOnEveryLevel) {
  const Settings settings;
  for (Isa isa : levels()) {
    set_isa(isa);
    for_each_variant([&]<int I>() {
      SCOPED_TRACE(std::string(omniconv::name(isa)) + ", variant " + std::to_string(I));
      check_transforms<I>(conv::kernels());
    });
  }
}

bool is_winograd(const AlgorithmInfo& info) { return info.name.starts_with("winograd"); }

TEST(Winograd, EveryCaseOfPrecisionHigh) {
  const Settings settings;
  std::set<std::string> ran;
  for (const Case& c : cases())
    for (ConvOp op : {ConvOp::forward, ConvOp::grad_input}) {
      ConvDesc desc = c.desc;
      desc.op = op;
      desc.precision = Precision::high;
      const std::vector<double> expected = oracle(desc, true);
      for (Isa isa : levels()) {
        set_isa(isa);
        for (const AlgorithmInfo& info : algorithms(desc)) {
          if (!is_winograd(info) || !info.usable) continue;
          desc.algorithm = info.name;
          ran.insert(info.name);
          for (Order order : kOrders)
            for (int threads : {1, 2}) {
              set_num_threads(threads);
              SCOPED_TRACE(std::string(c.name) + ", " + testing::name(op) + ", " + info.name);
              const Arrays<float> arrays = make_arrays<float>(desc, order, true);
              ConvPlan(desc).run(arrays.operands());
              EXPECT_LE(relative_error(arrays.out.values(), expected), 5e-6);
              EXPECT_TRUE(arrays.out.untouched());
            }
        }
      }
    }
  EXPECT_GE(ran.size(), 6u);
}

// A layer for every tile, with so many terms that `highest` allows all tiles of less than 8 x 8 inputs.
const ConvDesc kLayers[] = {
    {.x_shape = {1, 128, 13, 14}, .w_shape = {16, 128, 3, 3}, .pad_lo = {1, 1}, .pad_hi = {1, 1}},
    {.x_shape = {1, 96, 12, 11}, .w_shape = {16, 96, 5, 5}, .pad_lo = {2, 2}, .pad_hi = {2, 2}},
    {.x_shape = {1, 80, 12, 13}, .w_shape = {16, 80, 4, 4}},
    {.x_shape = {1, 64, 21, 22}, .w_shape = {16, 64, 7, 7}, .stride = {2, 2}, .pad_lo = {3, 3}, .pad_hi = {3, 3}},
    {.x_shape = {1, 8, 60, 61}, .w_shape = {16, 8, 11, 11}, .stride = {4, 4}, .pad_lo = {2, 2}, .pad_hi = {2, 2}},
    {.spatial = 1, .x_shape = {2, 512, 50}, .w_shape = {16, 512, 3}, .pad_lo = {1}, .pad_hi = {1}},
    {.spatial = 1, .x_shape = {2, 256, 50}, .w_shape = {16, 256, 5}, .pad_lo = {2}, .pad_hi = {2}},
    // Stems, an odd number of rows of output.
    {.x_shape = {1, 3, 63, 64}, .w_shape = {22, 3, 7, 7}, .stride = {2, 2}, .pad_lo = {3, 3}, .pad_hi = {2, 3}},
    {.x_shape = {1, 3, 64, 77}, .w_shape = {21, 3, 3, 3}, .stride = {2, 2}, .pad_lo = {1, 1}},
    {.x_shape = {2, 3, 35, 61}, .w_shape = {16, 3, 3, 3}, .pad_lo = {1, 1}, .pad_hi = {1, 1}},
};

double relative_to(const std::vector<double>& expected, const ConvDesc& desc) {
  const Arrays<float> arrays = make_arrays<float>(desc, Order::channels_first, false, false);
  ConvPlan(desc).run(arrays.operands());
  return relative_error(arrays.out.values(), expected);
}

// What plain float32 summation errs by: one chain per output.
double chain_error(const ConvDesc& d, const std::vector<double>& expected) {
  const Arrays<float> arrays = make_arrays<float>(d, Order::channels_first, false, false);
  const std::vector<float> x = arrays.a.values(), w = arrays.b.values();
  const Shape y = conv_output_shape(d);
  const bool flat = d.spatial == 1;
  const int64_t ih = flat ? 1 : d.x_shape[2], iw = d.x_shape.back(), th = flat ? 1 : d.w_shape[2],
                tw = d.w_shape.back(), oh = flat ? 1 : y[2], ow = y.back(), ci = d.x_shape[1];
  const int64_t sh = flat ? 1 : d.stride[0], sw = d.stride[flat ? 0 : 1], ph = flat ? 0 : d.pad_lo[0],
                pw = d.pad_lo[flat ? 0 : 1];
  std::vector<float> found;
  for (int64_t n = 0; n < y[0]; ++n)
    for (int64_t co = 0; co < y[1]; ++co)
      for (int64_t h = 0; h < oh; ++h)
        for (int64_t c = 0; c < ow; ++c) {
          float sum = 0;
          for (int64_t i = 0; i < ci; ++i)
            for (int64_t kh = 0; kh < th; ++kh)
              for (int64_t kw = 0; kw < tw; ++kw) {
                const int64_t row = h * sh + kh - ph, column = c * sw + kw - pw;
                if (row < 0 || row >= ih || column < 0 || column >= iw) continue;
                sum = std::fma(w[((co * ci + i) * th + kh) * tw + kw], x[((n * ci + i) * ih + row) * iw + column], sum);
              }
          found.push_back(sum);
        }
  return relative_error(found, expected);
}

TEST(Winograd, HighestErrsNoMoreThanPlainSummation) {
  const Settings settings;
  std::set<std::string> ran;
  for (const ConvDesc& layer : kLayers) {
    const std::vector<double> expected = oracle(layer, false);
    const double plain = chain_error(layer, expected);
    for (ConvDesc desc = layer; const AlgorithmInfo& info : algorithms(desc)) {
      if (!is_winograd(info) || !info.usable) continue;
      desc.algorithm = info.name;
      ran.insert(info.name);
      EXPECT_LE(relative_to(expected, desc), 1.05 * plain) << info.name << ", " << desc.w_shape[2] << " taps";
    }
  }
  EXPECT_EQ(ran.size(), 8u);  // of ten: 5x5 and 6x6 err too much
}

TEST(Winograd, HighKeepsItsPromise) {
  const Settings settings;
  for (ConvDesc desc : kLayers) {
    const std::vector<double> expected = oracle(desc, false);
    desc.precision = Precision::high;
    for (const AlgorithmInfo& info : algorithms(desc)) {
      if (!is_winograd(info) || !info.usable) continue;
      desc.algorithm = info.name;
      EXPECT_LE(relative_to(expected, desc), 1e-5) << info.name;
    }
  }
}

TEST(Winograd, ABadValueReachesItsWindowsAlone) {
  const Settings settings;
  for (const char* name : {"winograd_4x4", "winograd_2x1"})
    for (const auto& [bad, in_weights] : {std::pair{float(NAN), false},
                                          {float(INFINITY), false},
                                          {1e30f, false},
                                          {float(NAN), true},
                                          {float(INFINITY), true},
                                          {1e30f, true}}) {
      ConvDesc desc = kLayers[0];
      desc.precision = Precision::high;
      desc.algorithm = name;
      const Arrays<float> arrays = make_arrays<float>(desc, Order::channels_first, false, false);
      ConvPlan(desc).run(arrays.operands());
      const std::vector<float> before = arrays.out.values();
      const int64_t place = in_weights ? 3 * desc.w_shape[1] * 9 + 40 : (5 * 13 + 6) * 14 + 7;
      (in_weights ? arrays.b : arrays.a).at(place) = bad;
      ConvPlan(desc).run(arrays.operands());
      const std::vector<float> after = arrays.out.values();
      desc.algorithm = "im2win";
      ConvPlan(desc).run(arrays.operands());
      const std::vector<float> direct = arrays.out.values();
      int64_t same = 0;
      for (size_t i = 0; i < after.size(); ++i) {
        const int64_t h = int64_t(i) / 14 % 13, w = int64_t(i) % 14, channel = int64_t(i) / 14 / 13;
        const bool met = in_weights ? channel == 3 : std::abs(h - 6) <= 1 && std::abs(w - 7) <= 1;
        if (met)
          ASSERT_TRUE(after[i] == direct[i] || (std::isnan(after[i]) && std::isnan(direct[i])));
        else
          ASSERT_NEAR(after[i], before[i], 1e-3) << i;
        same += after[i] == before[i];
      }
      EXPECT_GE(same, in_weights ? 0 : int64_t(after.size() / 2)) << "tiles that do not hold it";
    }
}

TEST(Winograd, PackingCountsWhereWeightsChange) {
  const Settings settings;
  ConvDesc few{.x_shape = {1, 256, 6, 6}, .w_shape = {256, 256, 3, 3}},
      many{.x_shape = {1, 64, 56, 56}, .w_shape = {64, 64, 3, 3}};
  few.weights_change = many.weights_change = true;
  EXPECT_FALSE(is_winograd(algorithms(few).front())) << "4 tiles do not repay 262144 transformed kernels";
  EXPECT_TRUE(is_winograd(algorithms(many).front()));
  EXPECT_EQ(ConvPlan(few).algorithm(), algorithms(few).front().name);
}

}  // namespace
}  // namespace omniconv
