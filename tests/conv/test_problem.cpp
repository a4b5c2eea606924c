// tests/conv/test_problem.cpp -- borders, sizes, and the phases of the input gradient, each against brute force
#include <numeric>

#include "conv/conv_testing.hpp"
#include "conv/problem.hpp"

namespace omniconv {
namespace {

using namespace omniconv::testing;
using conv::Axis;
using conv::kAxes;
using conv::Phase;
using conv::Problem;

TEST(Border, FollowsNumPy) {
  // numpy.pad of (0 1 2 3 4) by 4 to the left and to the right; -1 is a zero.
  const std::vector<std::pair<PaddingMode, std::vector<int64_t>>> expected{
      {PaddingMode::zeros, {-1, -1, -1, -1, 0, 1, 2, 3, 4, -1, -1, -1, -1}},
      {PaddingMode::reflect, {4, 3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1, 0}},
      {PaddingMode::replicate, {0, 0, 0, 0, 0, 1, 2, 3, 4, 4, 4, 4, 4}},
      {PaddingMode::circular, {1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3}},
  };
  for (const auto& [mode, sources] : expected)
    for (int64_t p = -4; p < 9; ++p) EXPECT_EQ(conv::border(p, 5, mode), sources[p + 4]) << int(mode) << " " << p;
  EXPECT_EQ(conv::border(-5, 5, PaddingMode::circular), 0);
  EXPECT_EQ(conv::border(9, 5, PaddingMode::circular), 4);
}

TEST(OutputShape, CountsTheWindowsThatFit) {
  for (int64_t in = 1; in <= 9; ++in)
    for (int64_t taps = 1; taps <= 4; ++taps)
      for (int64_t stride = 1; stride <= 3; ++stride)
        for (int64_t dilation = 1; dilation <= 3; ++dilation)
          for (int64_t pad = 0; pad <= 4; ++pad) {
            const ConvDesc d{.spatial = 1,
                             .x_shape = {1, 1, in},
                             .w_shape = {1, 1, taps},
                             .stride = {stride},
                             .dilation = {dilation},
                             .pad_lo = {pad},
                             .pad_hi = {4 - pad}};
            int64_t windows = 0;
            for (int64_t first = 0; first + (taps - 1) * dilation < in + 4; first += stride) ++windows;
            if (windows == 0)
              EXPECT_THROW(conv_output_shape(d), Error);
            else
              EXPECT_EQ(conv_output_shape(d), (Shape{1, 1, windows}));
          }
}

// A forward axis with out computed; nothing where no window fits.
Axis axis_of(int64_t in, int64_t taps, int64_t stride, int64_t dilation, int64_t lo, int64_t hi, int64_t extra) {
  Axis a{in, 0, taps, stride, dilation, lo};
  const int64_t slack = in + lo + hi - a.window() - extra;
  a.out = slack < 0 ? 0 : slack / stride + 1;
  return a;
}

// Integers, so that every sum is exact: dx[i] = sum of g[o] * w[k] over all o, k with o * stride + k * dilation - lo =
// i.
class Volume {
 public:
  explicit Volume(const int64_t (&size)[kAxes]) : values(size_t(size[0] * size[1] * size[2])) {
    std::copy_n(size, kAxes, size_);
  }
  int64_t& at(int64_t d, int64_t h, int64_t w) { return values[(d * size_[1] + h) * size_[2] + w]; }
  void count_up() { std::iota(values.begin(), values.end(), 1); }
  template <class Body>
  void for_each(Body&& body) const {
    for (int64_t d = 0; d < size_[0]; ++d)
      for (int64_t h = 0; h < size_[1]; ++h)
        for (int64_t w = 0; w < size_[2]; ++w) body(d, h, w);
  }
  bool inside(int64_t d, int64_t h, int64_t w) const {
    return d >= 0 && h >= 0 && w >= 0 && d < size_[0] && h < size_[1] && w < size_[2];
  }

  std::vector<int64_t> values;

 private:
  int64_t size_[kAxes];
};

// Checks that the phases of `f` write each output at most once, all of them if `covered`, and the right sums.
void check_phases(const Problem& f) {
  const Axis &d = f.axis[0], &h = f.axis[1], &w = f.axis[2];
  Volume grad({d.out, h.out, w.out}), weight({d.taps, h.taps, w.taps});
  Volume expected({d.in, h.in, w.in}), found({d.in, h.in, w.in}), writes({d.in, h.in, w.in});
  grad.count_up();
  weight.count_up();
  grad.for_each([&](int64_t od, int64_t oh, int64_t ow) {
    weight.for_each([&](int64_t kd, int64_t kh, int64_t kw) {
      const int64_t i = od * d.stride + kd * d.dilation - d.lo, j = oh * h.stride + kh * h.dilation - h.lo,
                    k = ow * w.stride + kw * w.dilation - w.lo;
      if (expected.inside(i, j, k)) expected.at(i, j, k) += grad.at(od, oh, ow) * weight.at(kd, kh, kw);
    });
  });
  bool covered = false;
  for (const Phase& phase : conv::input_gradient_phases(f, &covered)) {
    const Axis* a = phase.problem.axis;
    EXPECT_EQ(phase.problem.ci, f.co);
    EXPECT_EQ(phase.problem.co, f.ci);
    Volume outputs({a[0].out, a[1].out, a[2].out}), taps({a[0].taps, a[1].taps, a[2].taps});
    outputs.for_each([&](int64_t od, int64_t oh, int64_t ow) {
      const int64_t o[] = {od, oh, ow};
      int64_t to[kAxes];
      for (int i = 0; i < kAxes; ++i) to[i] = phase.start[i] + o[i] * phase.step[i];
      ASSERT_TRUE(found.inside(to[0], to[1], to[2]));
      ++writes.at(to[0], to[1], to[2]);
      taps.for_each([&](int64_t kd, int64_t kh, int64_t kw) {
        const int64_t k[] = {kd, kh, kw};
        int64_t from[kAxes], tap[kAxes];
        for (int i = 0; i < kAxes; ++i) {
          from[i] = o[i] * a[i].stride + k[i] * a[i].dilation - a[i].lo;
          tap[i] = phase.first_tap[i] + k[i] * phase.tap_step[i];
        }
        ASSERT_TRUE(weight.inside(tap[0], tap[1], tap[2]));
        if (grad.inside(from[0], from[1], from[2]))
          found.at(to[0], to[1], to[2]) += grad.at(from[0], from[1], from[2]) * weight.at(tap[0], tap[1], tap[2]);
      });
    });
  }
  EXPECT_EQ(found.values, expected.values);
  const auto [least, most] = std::minmax_element(writes.values.begin(), writes.values.end());
  EXPECT_LE(*most, 1);
  EXPECT_EQ(covered, *least == 1);
}

TEST(InputGradientPhases, CoverEveryOutputOnceWithTheRightSums) {
  int checked = 0;
  for (int64_t in = 1; in <= 8; ++in)
    for (int64_t taps = 1; taps <= 4; ++taps)
      for (int64_t stride = 1; stride <= 4; ++stride)
        for (int64_t dilation = 1; dilation <= 4; ++dilation)
          for (int64_t lo = 0; lo <= 5; ++lo)
            for (int64_t hi : {0, 3})
              for (int64_t extra = 0; extra < stride; ++extra) {
                Problem f;
                f.ci = 3;
                f.co = 5;
                f.axis[2] = axis_of(in, taps, stride, dilation, lo, hi, extra);
                if (f.axis[2].out < 1) continue;
                SCOPED_TRACE(::testing::Message() << in << " " << taps << " " << stride << " " << dilation << " " << lo
                                                  << " " << hi << " " << extra);
                check_phases(f);
                ++checked;
              }
  EXPECT_GT(checked, 5000);
}

TEST(InputGradientPhases, CombineThreeAxes) {
  std::mt19937 random(7);
  const auto pick = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  for (int trial = 0; trial < 200; ++trial) {
    Problem f;
    for (Axis& a : f.axis) {
      const int64_t stride = pick(1, 3);
      a = axis_of(pick(1, 6), pick(1, 3), stride, pick(1, 3), pick(0, 3), pick(0, 3), pick(0, stride - 1));
    }
    if (f.axis[0].out < 1 || f.axis[1].out < 1 || f.axis[2].out < 1) continue;
    SCOPED_TRACE(trial);
    check_phases(f);
  }
}

TEST(PaddedProblem, HasTheSameWindows) {
  for (const Case& c : cases()) {
    const Problem p = conv::make_problem(c.desc), padded = conv::padded_problem(p);
    EXPECT_EQ(padded.mode, PaddingMode::zeros);
    for (int i = 0; i < kAxes; ++i) {
      EXPECT_EQ(padded.axis[i].out, p.axis[i].out) << c.name;
      EXPECT_EQ(padded.axis[i].lo, 0) << c.name;
      // The last window ends at the last element.
      EXPECT_EQ(padded.axis[i].in, (p.axis[i].out - 1) * p.axis[i].stride + p.axis[i].window()) << c.name;
    }
  }
}

// ---- what a description can get wrong
// --------------------------------------------------------------------------------

constexpr int64_t kHuge = int64_t{1} << 62;

struct Bad {
  ConvDesc desc;
  std::vector<const char*> parts;  // of the message
};

TEST(Description, ErrorsNameTheArgument) {
  const Shape x{1, 4, 8, 8}, w{6, 4, 3, 3};
  const std::vector<Bad> all{
      {{.spatial = 0, .x_shape = x, .w_shape = w}, {"spatial is 0", "1, 2 and 3"}},
      {{.spatial = 4, .x_shape = x, .w_shape = w}, {"spatial is 4"}},
      {{.x_shape = {1, 4, 8}, .w_shape = w}, {"x has 3 dimensions", "(1, 4, 8)", "needs 4"}},
      {{.x_shape = x, .w_shape = {6, 4, 3}}, {"weight has 3 dimensions", "(6, 4, 3)"}},
      {{.x_shape = {1, 5, 8, 8}, .w_shape = w}, {"weight", "4 input channels", "(1, 5, 8, 8)", "needs 5"}},
      {{.x_shape = x, .w_shape = w, .groups = 0}, {"groups is 0", "at least 1"}},
      {{.x_shape = x, .w_shape = w, .groups = -1}, {"groups is -1"}},
      {{.x_shape = x, .w_shape = w, .groups = 3}, {"groups is 3", "4 input channels"}},
      {{.x_shape = {1, 8, 8, 8}, .w_shape = {6, 2, 3, 3}, .groups = 4}, {"groups is 4", "6 output channels"}},
      {{.x_shape = {1, 0, 8, 8}, .w_shape = {6, 0, 3, 3}}, {"x", "no channels"}},
      {{.x_shape = {1, -4, 8, 8}, .w_shape = w}, {"x", "negative", "(1, -4, 8, 8)"}},
      {{.x_shape = x, .w_shape = {6, 4, -3, 3}}, {"weight", "negative"}},
      {{.x_shape = x, .w_shape = {6, 4, 0, 3}}, {"weight", "axis 0", "empty"}},
      {{.x_shape = {1, 4, 8, 0}, .w_shape = w}, {"x", "axis 1", "empty"}},
      {{.x_shape = x, .w_shape = w, .stride = {1, 0}}, {"stride", "axis 1", "is 0", "1 to"}},
      {{.x_shape = x, .w_shape = w, .stride = {-2, 1}}, {"stride", "axis 0", "is -2"}},
      {{.x_shape = x, .w_shape = w, .stride = {kHuge, 1}}, {"stride", "4611686018427387904"}},
      {{.x_shape = x, .w_shape = w, .dilation = {0, 1}}, {"dilation", "axis 0"}},
      {{.x_shape = x, .w_shape = w, .dilation = {1, kHuge}}, {"dilation", "axis 1"}},
      {{.x_shape = x, .w_shape = w, .pad_lo = {-1, 0}}, {"padding (low)", "is -1", "0 to"}},
      {{.x_shape = x, .w_shape = w, .pad_hi = {0, kHuge}}, {"padding (high)", "axis 1"}},
      {{.x_shape = x, .w_shape = {6, 4, 9, 3}}, {"weight", "spans 9", "axis 0", "has 8"}},
      {{.x_shape = x, .w_shape = w, .pad_lo = {8, 0}, .padding_mode = PaddingMode::reflect}, {"reflect", "padding 8"}},
      {{.x_shape = x, .w_shape = w, .pad_hi = {0, 9}, .padding_mode = PaddingMode::circular},
       {"circular", "padding 9"}},
      {{.x_shape = x, .w_shape = w, .stride = {2, 2}, .output_padding = {2, 0}}, {"output_padding", "axis 0", "is 2"}},
      {{.x_shape = x, .w_shape = w, .output_padding = {0, -1}}, {"output_padding", "axis 1"}},
      {{.x_shape = {kHuge, 4, 8, 8}, .w_shape = w}, {"x", "too large"}},
      {{.x_shape = {1 << 20, 4, 1 << 20, 1 << 20}, .w_shape = w}, {"x", "too large"}},
      {{.x_shape = x, .w_shape = {kHuge, 4, 3, 3}}, {"weight", "too large"}},
      // Every array fits, the output does not.
      {{.spatial = 1, .x_shape = {1 << 20, 1, 1 << 20}, .w_shape = {1 << 20, 1, 1}}, {"output", "too large"}},
      {{.spatial = 1, .x_shape = {1, 1, 1}, .w_shape = {1 << 20, 1, 1}, .pad_hi = {(int64_t{1} << 31) - 1}},
       {"output", "too large"}},
      {{.x_shape = x, .w_shape = w, .algorithm = "fast"}, {"algorithm is 'fast'", "'auto'", "'im2win'", "'reference'"}},
      {{.op = ConvOp::grad_weight, .x_shape = x, .w_shape = w, .activation = Activation::relu}, {"activation"}},
  };
  for (const Bad& bad : all)
    EXPECT_EQ(error_code([&] { ConvPlan plan(bad.desc); }, {}), Code::invalid_argument) << bad.parts.front();
  for (const Bad& bad : all)
    for (const char* part : bad.parts) error_code([&] { ConvPlan plan(bad.desc); }, {part});
}

TEST(Description, LargestValuesMakeAPlan) {
  // 2^31 - 1 is the largest stride, dilation and padding; nothing overflows on the way to the sizes.
  constexpr int64_t kMost = (int64_t{1} << 31) - 1;
  EXPECT_EQ(conv_output_shape({.spatial = 1, .x_shape = {1, 1, 3}, .w_shape = {1, 1, 1}, .stride = {kMost}}),
            (Shape{1, 1, 1}));
  EXPECT_EQ(conv_output_shape({.spatial = 1,
                               .x_shape = {1, 1, 3},
                               .w_shape = {1, 1, 2},
                               .dilation = {kMost},
                               .pad_lo = {kMost},
                               .pad_hi = {kMost}}),
            (Shape{1, 1, kMost + 3}));
}

TEST(Words, AreParsedAndListed) {
  EXPECT_EQ(parse_padding_mode("circular"), PaddingMode::circular);
  EXPECT_EQ(parse_activation("none"), Activation::none);
  EXPECT_EQ(parse_activation("tanh"), Activation::tanh);
  EXPECT_EQ(parse_precision("medium"), Precision::medium);
  EXPECT_EQ(error_code([] { parse_padding_mode("same"); }, {"padding_mode is 'same'", "'zeros'", "'circular'"}),
            Code::invalid_argument);
  EXPECT_EQ(error_code([] { parse_activation("Relu"); }, {"activation is 'Relu'", "'leaky_relu'"}),
            Code::invalid_argument);
  EXPECT_EQ(error_code([] { parse_precision(""); }, {"precision is ''", "'highest'"}), Code::invalid_argument);
}

}  // namespace
}  // namespace omniconv
