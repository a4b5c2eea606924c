// tests/fft/test_c_api.cpp -- the C interface of long convolutions: the results of the C++ one, and errors as a status
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "omniconv/fft.hpp"
#include "omniconv/omniconv.h"

namespace omniconv {
namespace {

struct Array {
  std::vector<int64_t> shape;
  std::vector<float> data;
  DLTensor tensor{};

  explicit Array(std::vector<int64_t> s, float step = 0) : shape(std::move(s)) {
    int64_t count = 1;
    for (int64_t n : shape) count *= n;
    data.assign(size_t(count), NAN);
    if (step != 0)
      for (int64_t i = 0; i < count; ++i) data[i] = std::sin(step * float(i + 1));
    tensor.data = data.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = int(shape.size());
    tensor.dtype = {kDLFloat, 32, 1};
    tensor.shape = shape.data();
  }
  Array(const Array&) = delete;
  TensorView view() { return TensorView::from_dlpack(tensor, "array"); }
};

TEST(FftCApi, ForwardPlanAndBackwardAreThoseOfCpp) {
  Array u({2, 3, 40}, 1.1f), k({3, 9}, 0.7f), pre({2, 3, 40}, 0.3f), skip({3}, 1), y({2, 3, 40}), again({2, 3, 40});
  omniconv_fft_conv_arrays a{};
  a.size = sizeof a;
  a.u = &u.tensor;
  a.k = &k.tensor;
  a.pre_gate = &pre.tensor;
  a.skip = &skip.tensor;
  a.out = &y.tensor;
  omniconv_fft_conv_options o;
  ASSERT_EQ(omniconv_fft_conv_options_init(&o, sizeof o), OMNICONV_OK);
  o.mode = "same";
  o.activation = "silu";
  ASSERT_EQ(omniconv_fft_conv(&a, &o), OMNICONV_OK) << omniconv_last_error();

  const FftConvPlan plan({.mode = FftMode::same, .length = 40, .taps = 9});
  const FftSpectrum spectrum = plan.transform(k.view());
  Array want({2, 3, 40});
  plan.run(
      spectrum,
      {.u = u.view(), .out = want.view(), .pre_gate = pre.view(), .skip = skip.view(), .activation = Activation::silu});
  EXPECT_EQ(y.data, want.data);

  omniconv_fft_conv_plan* made = nullptr;
  ASSERT_EQ(omniconv_fft_conv_plan_create(&k.tensor, nullptr, 40, &o, &made), OMNICONV_OK);
  a.out = &again.tensor;
  a.k = nullptr;
  EXPECT_EQ(omniconv_fft_conv_plan_run(made, &a), OMNICONV_OK) << omniconv_last_error();
  EXPECT_EQ(again.data, want.data);
  omniconv_fft_conv_plan_destroy(made);
  omniconv_fft_conv_plan_destroy(nullptr);

  Array grad({2, 3, 40}, 0.9f), du({2, 3, 40}), dk({3, 9}), dskip({3}), du2({2, 3, 40}), dk2({3, 9}), dskip2({3});
  a.k = &k.tensor;
  a.grad = &grad.tensor;
  a.du = &du.tensor;
  a.dk = &dk.tensor;
  a.dskip = &dskip.tensor;
  ASSERT_EQ(omniconv_fft_conv_backward(&a, &o), OMNICONV_OK) << omniconv_last_error();
  FftConvBackward b{.k = k.view(), .u = u.view(), .pre_gate = pre.view(), .skip = skip.view(), .grad = grad.view()};
  b.activation = Activation::silu;
  b.du = du2.view();
  b.dk = dk2.view();
  b.dskip = dskip2.view();
  plan.backward(b);
  EXPECT_EQ(du.data, du2.data);
  EXPECT_EQ(dk.data, dk2.data);
  EXPECT_EQ(dskip.data, dskip2.data);
}

TEST(FftCApi, ErrorsAreAStatusAndName) {
  const auto said = [](const char* what) { return std::string(omniconv_last_error()).find(what) != std::string::npos; };
  Array u({2, 3, 40}, 1), k({3, 9}, 1), y({2, 3, 41}), flat({40}, 1);
  omniconv_fft_conv_arrays a{};
  EXPECT_EQ(omniconv_fft_conv(nullptr, nullptr), OMNICONV_INVALID_ARGUMENT);
  EXPECT_TRUE(said("arrays is NULL"));
  EXPECT_EQ(omniconv_fft_conv(&a, nullptr), OMNICONV_INVALID_ARGUMENT);
  EXPECT_TRUE(said("size of arrays is 0"));
  a.size = sizeof a;
  EXPECT_EQ(omniconv_fft_conv(&a, nullptr), OMNICONV_INVALID_ARGUMENT);
  EXPECT_TRUE(said("k is NULL"));
  a.u = &u.tensor;
  a.k = &k.tensor;
  a.out = &y.tensor;
  EXPECT_EQ(omniconv_fft_conv(&a, nullptr), OMNICONV_INVALID_ARGUMENT);
  EXPECT_TRUE(said("out has shape"));
  a.k = &flat.tensor;
  EXPECT_EQ(omniconv_fft_conv(&a, nullptr), OMNICONV_INVALID_ARGUMENT);
  EXPECT_TRUE(said("k has"));
  omniconv_fft_conv_options o;
  ASSERT_EQ(omniconv_fft_conv_options_init(&o, sizeof o), OMNICONV_OK);
  o.mode = "casual";
  a.k = &k.tensor;
  EXPECT_EQ(omniconv_fft_conv(&a, &o), OMNICONV_INVALID_ARGUMENT);
  EXPECT_TRUE(said("mode is 'casual'"));
  o.mode = nullptr;
  a.grad = &u.tensor;
  a.dk = &u.tensor;
  EXPECT_EQ(omniconv_fft_conv_backward(&a, &o), OMNICONV_INVALID_ARGUMENT);
  EXPECT_TRUE(said("dk has shape"));
  omniconv_fft_conv_plan* plan = nullptr;
  EXPECT_EQ(omniconv_fft_conv_plan_create(&k.tensor, nullptr, 0, nullptr, &plan), OMNICONV_INVALID_ARGUMENT);
  EXPECT_EQ(plan, nullptr);
  EXPECT_EQ(omniconv_fft_conv_plan_run(nullptr, &a), OMNICONV_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace omniconv
