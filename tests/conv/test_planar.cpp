// tests/conv/test_planar.cpp -- planar and depthwise convolution: strips, and the bits of im2win
#include "conv/conv_testing.hpp"

namespace omniconv {
namespace {

using namespace omniconv::testing;

TEST(Planar, LinesPickColumnsApart) {
  const Settings settings;
  for (Isa isa : levels()) {
    set_isa(isa);
    for (int64_t stride : {1, 2})
      for (int64_t in : {1, 2, 7, 8, 31, 40})
        for (int64_t lo : {-3, -2, -1, 0, 1, 2, 3, 8})
          for (int64_t phase : {1, 5, 16, 45}) {
            SCOPED_TRACE(::testing::Message()
                         << "stride " << stride << ", " << in << " columns, padding " << lo << ", phases of " << phase);
            const int64_t rows = 3, x_row = in + 2, line = stride * phase;
            std::vector<float> x(size_t(rows * x_row)), to(size_t(rows * line + 1), -1);
            for (size_t i = 0; i < x.size(); ++i) x[i] = float(i + 1);
            conv::kernels().planar.lines({x.data(), x_row, in, lo, stride, rows, to.data(), phase});
            for (int64_t r = 0; r < rows; ++r)
              for (int64_t q = 0; q < stride; ++q)
                for (int64_t i = 0; i < phase; ++i) {
                  const int64_t at = i * stride + q - lo;
                  ASSERT_EQ(to[r * line + q * phase + i], at >= 0 && at < in ? x[r * x_row + at] : 0.0f)
                      << "row " << r << ", phase " << q << ", column " << i;
                }
            ASSERT_EQ(to.back(), -1);
          }
  }
}

const ConvDesc kProblems[] = {
    {.x_shape = {2, 3, 20, 45}, .w_shape = {19, 3, 7, 7}, .stride = {2, 2}, .pad_lo = {3, 3}, .pad_hi = {2, 3}},
    // Rows of tiles of both widths; rows shorter than a tile, than a vector, of one pixel; sums cut in two.
    {.x_shape = {1, 3, 7, 110}, .w_shape = {21, 3, 3, 3}},
    {.x_shape = {1, 3, 40, 13}, .w_shape = {6, 3, 3, 3}, .pad_lo = {1, 0}},
    {.x_shape = {1, 2, 33, 5}, .w_shape = {35, 2, 3, 3}},
    {.x_shape = {2, 3, 50, 2}, .w_shape = {8, 3, 5, 2}, .stride = {1, 2}},
    {.x_shape = {1, 22, 9, 15}, .w_shape = {20, 22, 5, 5}, .pad_lo = {2, 2}, .pad_hi = {2, 2}},
    {.x_shape = {1, 21, 16, 18}, .w_shape = {21, 1, 25, 25}, .pad_lo = {12, 12}, .pad_hi = {12, 12}, .groups = 21},
    {.x_shape = {2, 70, 9, 10}, .w_shape = {70, 1, 3, 3}, .stride = {2, 2}, .pad_lo = {1, 1}, .groups = 70},
    {.x_shape = {1, 6, 9, 40}, .w_shape = {12, 1, 3, 3}, .dilation = {2, 3}, .pad_lo = {1, 5}, .groups = 6},
    {.spatial = 1, .x_shape = {2, 33, 100}, .w_shape = {33, 1, 4}, .pad_lo = {3}, .groups = 33},
    {.spatial = 3, .x_shape = {1, 17, 5, 6, 7}, .w_shape = {17, 1, 3, 3, 3}, .pad_lo = {1, 1, 1}, .groups = 17},
    {.x_shape = {1, 9, 8, 9},
     .w_shape = {9, 1, 5, 5},
     .stride = {1, 3},
     .pad_lo = {4, 4},
     .pad_hi = {4, 4},
     .groups = 9,
     .padding_mode = PaddingMode::reflect},
};

TEST(Planar, HasTheBitsOfIm2win) {
  const Settings settings;
  int runs = 0;
  for (const ConvDesc& problem : kProblems)
    for (Isa isa : levels())
      for (bool epilogue : {false, true})
        for (Order order : kOrders) {
          set_isa(isa);
          ConvDesc desc = problem;
          desc.activation = epilogue ? Activation::gelu : Activation::none;
          const Arrays<float> arrays = make_arrays<float>(desc, order, epilogue, false);
          desc.channels_last = arrays.a.view().strides[1] == 1;
          desc.algorithm = "im2win";
          ConvPlan(desc).run(arrays.operands());
          const std::vector<float> expected = arrays.out.values();
          for (const char* name : {"planar", "depthwise"}) {
            desc.algorithm = name;
            arrays.out.fill(NAN);
            if (error_code([&] { ConvPlan(desc).run(arrays.operands()); }, {}) != Code::ok) continue;
            EXPECT_EQ(arrays.out.values(), expected) << name << ", order " << int(order);
            EXPECT_TRUE(arrays.out.untouched());
            ++runs;
          }
        }
  EXPECT_GE(runs, int(levels().size() * 2 * (12 * 4 + 4 * 2)));
}

TEST(Planar, GradientOfTheWeights) {
  const Settings settings;
  int runs = 0;
  for (ConvDesc desc : kProblems) {
    desc.op = ConvOp::grad_weight;
    desc.algorithm = "planar";
    if (error_code([&] { ConvPlan{desc}; }, {}) != Code::ok) continue;  // dilated
    const std::vector<double> expected = oracle(desc, false);
    for (Isa isa : levels())
      for (Order order : kOrders) {
        set_isa(isa);
        const Arrays<float> arrays = make_arrays<float>(desc, order, false, false);
        std::vector<float> bits;
        for (int threads : {1, 2}) {
          set_num_threads(threads);
          arrays.out.fill(NAN);
          ConvPlan(desc).run(arrays.operands());
          EXPECT_LE(relative_error(arrays.out.values(), expected), 5e-7) << "order " << int(order);
          EXPECT_TRUE(arrays.out.untouched());
          if (threads == 2) {
            EXPECT_EQ(arrays.out.values(), bits);
          }
          bits = arrays.out.values();
          ++runs;
        }
      }
  }
  EXPECT_GE(runs, int(levels().size()) * 11 * 4 * 2);
}

}  // namespace
}  // namespace omniconv
