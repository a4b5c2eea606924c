// tests/conv/test_pointwise.cpp -- kernels of one tap: the bits of im2win, and gradients against float64
#include "conv/conv_testing.hpp"

namespace omniconv {
namespace {

using namespace omniconv::testing;

const ConvDesc kProblems[] = {
    // Panels of pixels that reach over two and three images; sums cut in two; channels that fill no tile.
    {.x_shape = {5, 33, 7, 7}, .w_shape = {37, 33, 1, 1}},
    {.x_shape = {3, 600, 3, 5}, .w_shape = {48, 600, 1, 1}},
    {.x_shape = {1, 20, 31, 33}, .w_shape = {70, 20, 1, 1}},
    {.x_shape = {1, 96, 5, 5}, .w_shape = {128, 96, 1, 1}},
    // Blocks of pixels that follow each other in one slot.
    {.x_shape = {1, 1024, 5, 110}, .w_shape = {3, 1024, 1, 1}},
    // Every second pixel, every third, rows of an end that no stride reaches.
    {.x_shape = {2, 18, 14, 35}, .w_shape = {32, 18, 1, 1}, .stride = {2, 2}},
    {.x_shape = {2, 9, 8, 11}, .w_shape = {5, 9, 1, 1}, .stride = {1, 3}},
    {.x_shape = {2, 12, 6, 9}, .w_shape = {42, 4, 1, 1}, .groups = 3},
    {.spatial = 1, .x_shape = {3, 17, 50}, .w_shape = {16, 17, 1}},
    {.spatial = 3, .x_shape = {2, 8, 3, 4, 6}, .w_shape = {9, 8, 1, 1, 1}, .stride = {2, 1, 1}},
};

TEST(Pointwise, HasTheBitsOfIm2win) {
  const Settings settings;
  for (const ConvDesc& problem : kProblems)
    for (Isa isa : levels())
      for (bool epilogue : {false, true})
        for (Order order : kOrders) {
          SCOPED_TRACE(::testing::Message() << problem.x_shape[1] << " channels, " << name(isa) << ", order "
                                            << int(order) << ", epilogue " << epilogue);
          set_isa(isa);
          ConvDesc desc = problem;
          desc.activation = epilogue ? Activation::gelu : Activation::none;
          const Arrays<float> arrays = make_arrays<float>(desc, order, epilogue, int(isa) % 2);
          desc.channels_last = arrays.a.view().strides[1] == 1;
          desc.algorithm = "im2win";
          ConvPlan(desc).run(arrays.operands());
          const std::vector<float> expected = arrays.out.values();
          desc.algorithm = "pointwise";
          for (int threads : {1, 2, 5}) {
            set_num_threads(threads);
            arrays.out.fill(NAN);
            ConvPlan(desc).run(arrays.operands());
            EXPECT_EQ(arrays.out.values(), expected) << threads << " threads";
            EXPECT_TRUE(arrays.out.untouched());
          }
        }
}

TEST(Pointwise, GradientOfTheWeights) {
  const Settings settings;
  for (ConvDesc desc : kProblems) {
    desc.op = ConvOp::grad_weight;
    desc.algorithm = "pointwise";
    const std::vector<double> expected = oracle(desc, false);
    for (Isa isa : levels())
      for (Order order : kOrders) {
        const bool mixed = int(isa) % 2;
        SCOPED_TRACE(::testing::Message() << desc.x_shape[1] << " channels, " << name(isa) << ", order " << int(order)
                                          << ", mixed " << mixed);
        set_isa(isa);
        const Arrays<float> arrays = make_arrays<float>(desc, order, false, mixed);
        std::vector<float> bits;
        for (int threads : {1, 2, 5}) {
          set_num_threads(threads);
          arrays.out.fill(NAN);
          ConvPlan(desc).run(arrays.operands());
          EXPECT_LE(relative_error(arrays.out.values(), expected), 5e-7);
          EXPECT_TRUE(arrays.out.untouched());
          if (threads > 1) {
            EXPECT_EQ(arrays.out.values(), bits) << threads << " threads";
          }
          bits = arrays.out.values();
        }
      }
  }
}

TEST(Pointwise, DeclinesWhatHasTapsOrPadding) {
  const auto reason = [](const ConvDesc& desc) {
    for (const AlgorithmInfo& info : algorithms(desc))
      if (info.name == "pointwise") return info.reason;
    return std::string("not listed");
  };
  EXPECT_EQ(reason({.x_shape = {1, 4, 6, 6}, .w_shape = {4, 4, 1, 1}}), "");
  EXPECT_NE(reason({.x_shape = {1, 4, 6, 6}, .w_shape = {4, 4, 1, 2}}).find("2 taps"), std::string::npos);
  for (const ConvDesc& desc : {ConvDesc{.x_shape = {1, 4, 6, 6}, .w_shape = {4, 4, 1, 1}, .pad_lo = {0, 1}},
                               ConvDesc{.x_shape = {1, 4, 6, 6}, .w_shape = {4, 4, 1, 1}, .pad_hi = {1, 0}}})
    EXPECT_NE(reason(desc).find("padded"), std::string::npos);
}

}  // namespace
}  // namespace omniconv
