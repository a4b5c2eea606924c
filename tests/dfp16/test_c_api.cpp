// tests/dfp16/test_c_api.cpp -- the C interface of dynamic fixed point: the results of the C++ one, errors as a status
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "omniconv/dfp16.hpp"
#include "omniconv/omniconv.h"

namespace omniconv {
namespace {

template <class T>
struct Array {
  std::vector<int64_t> shape;
  std::vector<T> data;
  DLTensor tensor{};

  explicit Array(std::vector<int64_t> s) : shape(std::move(s)) {
    int64_t count = 1;
    for (int64_t n : shape) count *= n;
    data.resize(size_t(count));
    tensor.data = data.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = int(shape.size());
    tensor.dtype = {uint8_t(std::is_integral_v<T> ? kDLInt : kDLFloat), uint8_t(8 * sizeof(T)), 1};
    tensor.shape = shape.data();
  }
  Array(const Array&) = delete;
  TensorView view() { return TensorView::from_dlpack(tensor, "a", TensorView::On::cpu, kTypes); }
  static constexpr auto kTypes = TensorView::Types::floats_and_integers;
};

TEST(Dfp16CApi, QuantisesConvolvesAndDequantisesAsCppDoes) {
  Array<float> x({2, 3, 5, 6}), w({4, 3, 3, 3}), bias({4}), y({2, 4, 5, 6}), same({2, 4, 5, 6}), back({2, 3, 5, 6});
  for (size_t i = 0; i < x.data.size(); ++i) x.data[i] = std::sin(1.3f * float(i)) * (i < 90 ? 1.0f : 100.0f);
  for (size_t i = 0; i < w.data.size(); ++i) w.data[i] = std::cos(0.7f * float(i));
  for (size_t i = 0; i < 4; ++i) bias.data[i] = float(i);
  Array<int16_t> a({2, 3, 5, 6}), b({4, 3, 3, 3});
  Array<int32_t> ea({2}), eb({1});
  Array<int64_t> sums({2, 4, 5, 6}), sums_same({2, 4, 5, 6});

  omniconv_dfp16_options o;
  ASSERT_EQ(omniconv_dfp16_options_init(&o, sizeof o), OMNICONV_OK);
  o.granularity = "image";
  o.bits = 12;
  ASSERT_EQ(omniconv_dfp16_quantize(&x.tensor, &a.tensor, &ea.tensor, &o), OMNICONV_OK) << omniconv_last_error();
  ASSERT_EQ(omniconv_dfp16_quantize(&w.tensor, &b.tensor, &eb.tensor, nullptr), OMNICONV_OK);
  EXPECT_GT(ea.data[1], ea.data[0]);
  Array<int16_t> want({2, 3, 5, 6});
  Array<int32_t> e({2});
  dfp16::quantize(x.view(), {.bits = 12, .granularity = dfp16::Granularity::image}, want.view(), e.view());
  EXPECT_EQ(a.data, want.data);
  ASSERT_EQ(omniconv_dfp16_dequantize(&a.tensor, &ea.tensor, &back.tensor, &o), OMNICONV_OK);
  for (size_t i = 0; i < back.data.size(); ++i) EXPECT_EQ(back.data[i], std::ldexp(float(a.data[i]), ea.data[i / 90]));

  omniconv_conv_options g;
  ASSERT_EQ(omniconv_conv_options_init(&g, sizeof g), OMNICONV_OK);
  for (int i = 0; i < 2; ++i) g.pad_lo[i] = g.pad_hi[i] = 1;
  const dfp16::Operands operands{a.view(), b.view(), same.view(), bias.view(), ea.view(), eb.view()};
  dfp16::convolve({.pad_lo = {1, 1}, .pad_hi = {1, 1}}, {}, operands);
  ASSERT_EQ(omniconv_dfp16_conv(OMNICONV_CONV_FORWARD, &a.tensor, &ea.tensor, &b.tensor, &eb.tensor, &bias.tensor,
                                &y.tensor, &g, nullptr),
            OMNICONV_OK)
      << omniconv_last_error();
  EXPECT_EQ(y.data, same.data);
  ASSERT_EQ(omniconv_dfp16_conv(OMNICONV_CONV_FORWARD, &a.tensor, &ea.tensor, &b.tensor, &eb.tensor, nullptr,
                                &sums.tensor, &g, nullptr),
            OMNICONV_OK);
  g.algorithm = "emulated_tiles";
  ASSERT_EQ(omniconv_dfp16_conv(OMNICONV_CONV_FORWARD, &a.tensor, &ea.tensor, &b.tensor, &eb.tensor, nullptr,
                                &sums_same.tensor, &g, nullptr),
            OMNICONV_OK);
  EXPECT_EQ(sums.data, sums_same.data);
  EXPECT_EQ(y.data[0], float(std::ldexp(double(sums.data[0]), ea.data[0] + eb.data[0])) + bias.data[0]);
}

TEST(Dfp16CApi, ErrorsAreStatusAndMessage) {
  Array<float> x({2, 3});
  Array<int16_t> m({2, 3});
  Array<int32_t> e({1});
  omniconv_dfp16_options o;
  ASSERT_EQ(omniconv_dfp16_options_init(&o, sizeof o), OMNICONV_OK);
  o.rounding = "up";
  EXPECT_EQ(omniconv_dfp16_quantize(&x.tensor, &m.tensor, &e.tensor, &o), OMNICONV_INVALID_ARGUMENT);
  EXPECT_NE(std::strstr(omniconv_last_error(), "'up'"), nullptr);
  EXPECT_EQ(omniconv_dfp16_quantize(nullptr, &m.tensor, &e.tensor, nullptr), OMNICONV_INVALID_ARGUMENT);
  EXPECT_NE(std::strstr(omniconv_last_error(), "x is NULL"), nullptr);
  EXPECT_EQ(omniconv_dfp16_options_init(&o, 8), OMNICONV_INVALID_ARGUMENT);
  struct {
    omniconv_dfp16_options known;
    int64_t later;
  } newer;
  ASSERT_EQ(omniconv_dfp16_options_init(&newer.known, sizeof newer), OMNICONV_OK);
  EXPECT_EQ(omniconv_dfp16_quantize(&x.tensor, &m.tensor, &e.tensor, &newer.known), OMNICONV_OK);
  newer.later = 1;
  EXPECT_EQ(omniconv_dfp16_quantize(&x.tensor, &m.tensor, &e.tensor, &newer.known), OMNICONV_NOT_SUPPORTED);
}

}  // namespace
}  // namespace omniconv
