// tests/conv/test_algorithms.cpp -- every algorithm x instruction set x layout x operation against float64
#include <map>
#include <numeric>

#include "conv/conv_testing.hpp"

namespace omniconv {
namespace {

using namespace omniconv::testing;

bool usable(const ConvDesc& desc, const std::string& algorithm) {
  for (const AlgorithmInfo& info : algorithms(desc))
    if (info.name == algorithm) return info.usable;
  ADD_FAILURE() << algorithm << " is not listed";
  return false;
}

// Runs `desc` with memory in `order`; false where the algorithm may decline and does.
bool matches(ConvDesc desc, Order order, bool epilogue, bool pack, const std::vector<double>& expected) {
  const Arrays<float> arrays = make_arrays<float>(desc, order, epilogue);
  const TensorView& x = desc.op == ConvOp::grad_weight ? arrays.b.view() : arrays.a.view();
  desc.channels_last = x.strides[1] == 1;
  ConvOperands operands = arrays.operands();
  try {
    ConvPlan plan(desc);
    if (pack) {
      plan.pack(operands.b);
      operands.b = {};
    }
    plan.run(operands);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::not_supported) << error.what();
    EXPECT_FALSE(usable(desc, desc.algorithm)) << error.what();
    return false;
  }
  EXPECT_TRUE(usable(desc, desc.algorithm) || expected.empty());
  // `highest` promises 1e-6 for normal data.
  EXPECT_LE(relative_error(arrays.out.values(), expected), 1e-6);
  EXPECT_TRUE(arrays.out.untouched()) << "written beside the output";
  return true;
}

class Algorithms : public ::testing::TestWithParam<ConvOp> {
 protected:
  Settings settings;
};

TEST_P(Algorithms, MatchTheReferenceOnEveryLevelAndLayout) {
  std::map<std::string, int> runs;
  int turn = 0;
  for (const Case& c : cases()) {
    ConvDesc desc = c.desc;
    desc.op = GetParam();
    const std::vector<double> expected = oracle(desc, false);
    ++turn;  // so that an algorithm meets other layouts in the next case
    for (Isa isa : levels()) {
      set_isa(isa);
      for (const AlgorithmInfo& info : algorithms(desc))
        for (Order order : orders(turn++)) {
          if (info.name == "reference" && isa != Isa::scalar) continue;  // one code for all levels
          SCOPED_TRACE(std::string(c.name) + ", " + testing::name(desc.op) + ", " + std::string(omniconv::name(isa)) +
                       ", " + info.name + ", order " + std::to_string(int(order)));
          desc.algorithm = info.name;
          const bool pack = desc.op != ConvOp::grad_weight && int(order) % 2;
          runs[info.name] += matches(desc, order, false, pack, expected);
        }
    }
  }
  // Nothing can pass by declining.
  EXPECT_GT(runs["im2win"], int(cases().size() * levels().size() * orders(0).size() * 9 / 10));
  EXPECT_GT(runs["reference"], 0);
  if (GetParam() == ConvOp::grad_weight) return;
  for (const char* other : {"direct", "im2win_full", "im2col"}) EXPECT_GT(runs[other], 0) << other;
}

class Epilogue : public Algorithms {};

TEST_P(Epilogue, IsApplied) {
  constexpr Activation kLast = Activation::tanh;
  for (const char* wanted : {"padded 3x3", "groups", "3-D", "even dilation and stride", "reflect", "1-D causal"})
    for (const Case& c : cases()) {
      if (c.name != std::string(wanted)) continue;
      ConvDesc desc = c.desc;
      desc.op = GetParam();
      desc.negative_slope = 0.3f;
      for (int activation = 0; activation <= int(kLast); ++activation) {
        desc.activation = Activation(activation);
        desc.algorithm = "auto";
        const std::vector<double> expected = oracle(desc, true);
        for (Isa isa : levels()) {
          set_isa(isa);
          int order = activation;
          for (const AlgorithmInfo& info : algorithms(desc)) {
            SCOPED_TRACE(std::string(c.name) + ", " + testing::name(desc.op) + ", " + std::string(omniconv::name(isa)) +
                         ", " + info.name + ", activation " + std::to_string(activation));
            desc.algorithm = info.name;
            matches(desc, kOrders[order++ % std::size(kOrders)], true, false, expected);
            matches(desc, Order::channels_last, true, true, expected);
          }
        }
      }
    }
}

const auto op_name = [](const auto& info) { return std::string(testing::name(info.param)); };
INSTANTIATE_TEST_SUITE_P(, Algorithms, ::testing::ValuesIn(kOps), op_name);
INSTANTIATE_TEST_SUITE_P(, Epilogue, ::testing::Values(ConvOp::forward, ConvOp::grad_input), op_name);

// The oracle itself: the definition written out once more, over an input whose border was added by walking.
TEST(Reference, IsTheDefinition) {
  for (const Case& c : cases()) {
    ConvDesc d = c.desc;
    d.spatial = 3;  // missing axes as axes of one element
    for (auto* values : {&d.stride, &d.dilation}) std::replace(values->begin(), values->end(), 0, 1);
    for (int i = c.desc.spatial; i < 3; ++i) {
      d.x_shape.insert(d.x_shape.begin() + 2, 1);
      d.w_shape.insert(d.w_shape.begin() + 2, 1);
      for (auto* values : {&d.stride, &d.dilation}) std::rotate(values->begin(), values->end() - 1, values->end());
      for (auto* values : {&d.pad_lo, &d.pad_hi, &d.output_padding})
        std::rotate(values->begin(), values->end() - 1, values->end());
    }
    const Array<double> x(d.x_shape, Order::channels_first, 1), w(d.w_shape, Order::channels_first, 2);
    const Shape y = conv_output_shape(d);
    const int64_t ci = d.w_shape[1], co = d.w_shape[0] / d.groups;
    const std::vector<double> found = oracle(c.desc, false);
    size_t at = 0;
    // Coordinate of the input at a padded coordinate, one step at a time: a walk that turns, stays, jumps or leaves.
    const auto walk = [&](int axis, int64_t to) -> int64_t {
      const int64_t in = d.x_shape[2 + axis];
      int64_t p = 0, direction = to < 0 ? -1 : 1;
      for (int64_t step = 0; step < std::abs(to); ++step) {
        if (d.padding_mode == PaddingMode::reflect && (p + direction < 0 || p + direction >= in))
          direction = -direction;
        p += direction;
        if (d.padding_mode == PaddingMode::replicate) p = std::clamp<int64_t>(p, 0, in - 1);
        if (d.padding_mode == PaddingMode::circular) p = (p + in) % in;
      }
      return p >= 0 && p < in ? p : -1;
    };
    for (int64_t n = 0; n < y[0]; ++n)
      for (int64_t channel = 0; channel < y[1]; ++channel)
        for (int64_t o = 0; o < y[2] * y[3] * y[4]; ++o, ++at) {
          const int64_t out[] = {o / y[4] / y[3], o / y[4] % y[3], o % y[4]};
          const int64_t taps = d.w_shape[2] * d.w_shape[3] * d.w_shape[4];
          double sum = 0;
          for (int64_t k = 0; k < taps; ++k) {
            const int64_t tap[] = {k / d.w_shape[4] / d.w_shape[3], k / d.w_shape[4] % d.w_shape[3], k % d.w_shape[4]};
            int64_t from = 0;
            bool inside = true;
            for (int i = 0; i < 3; ++i) {
              const int64_t p = walk(i, out[i] * d.stride[i] + tap[i] * d.dilation[i] - d.pad_lo[i]);
              inside &= p >= 0;
              from = from * d.x_shape[2 + i] + p;
            }
            for (int64_t i = 0; inside && i < ci; ++i)
              sum +=
                  w.at((channel * ci + i) * taps + k) *
                  x.at((n * d.x_shape[1] + channel / co * ci + i) * d.x_shape[2] * d.x_shape[3] * d.x_shape[4] + from);
          }
          ASSERT_NEAR(found[at], sum, 1e-12 * (1 + std::abs(sum))) << c.name << ", output " << at;
        }
    EXPECT_EQ(at, found.size());
  }
}

// <conv(x, w), g> = <x, grad_input(g, w)> = <w, grad_weight(g, x)>: the gradients are the adjoints, border included.
TEST(Reference, GradientsAreAdjoint) {
  for (const Case& c : cases()) {
    ConvDesc d = c.desc;
    d.dtype = DType::float64;
    const Array<double> x(d.x_shape, Order::scattered, 11), w(d.w_shape, Order::reversed, 12);
    const Shape y_shape = conv_output_shape(d);
    const Array<double> g(y_shape, Order::cropped_last, 13), y(y_shape, Order::cropped_first);
    const Array<double> dx(d.x_shape, Order::channels_last), dw(d.w_shape, Order::channels_first);
    convolve(d, {.a = x.view(), .b = w.view(), .out = y.view()});
    d.op = ConvOp::grad_input;
    convolve(d, {.a = g.view(), .b = w.view(), .out = dx.view()});
    d.op = ConvOp::grad_weight;
    convolve(d, {.a = g.view(), .b = x.view(), .out = dw.view()});
    const auto dot = [](const Array<double>& p, const Array<double>& q) {
      const std::vector<double> a = p.values(), b = q.values();
      return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
    };
    const double forward = dot(y, g);
    EXPECT_NEAR(dot(x, dx), forward, 1e-10 * (1 + std::abs(forward))) << c.name;
    EXPECT_NEAR(dot(w, dw), forward, 1e-10 * (1 + std::abs(forward))) << c.name;
  }
}

TEST(GradBias, SumsEverythingButChannels) {
  for (const Shape& shape : {Shape{2, 3, 7}, Shape{3, 5, 4, 6}, Shape{1, 2, 3, 4, 5}, Shape{0, 2, 3}})
    for (Order order : kOrders) {
      const Array<float> grad(shape, order, 1);
      const Array<float> out({shape[1]}, Order::scattered);
      conv_grad_bias(grad.view(), out.view());
      std::vector<double> expected(size_t(shape[1]), 0.0);
      const int64_t plane = count_of({shape.begin() + 2, shape.end()});
      for (int64_t i = 0; i < count_of(shape); ++i) expected[i / plane % shape[1]] += grad.at(i);
      EXPECT_LE(relative_error(out.values(), expected), 1e-7);
      EXPECT_TRUE(out.untouched());
    }
}

}  // namespace
}  // namespace omniconv
