// tests/conv/test_plan.cpp -- what a plan promises: the same bits however it runs, its workspace and no more, its
// errors
#include <cstdint>
#include <memory>

#include "conv/conv_testing.hpp"
#include "core/device.hpp"

namespace omniconv {
namespace {

using namespace omniconv::testing;

class Plan : public ::testing::Test {
 protected:
  Settings settings;
};

// Equal as bits: also NaN equals itself, and 0 is not -0.
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

std::vector<float> result(const ConvDesc& desc, Order order = Order::channels_first) {
  const Arrays<float> arrays = make_arrays<float>(desc, order, true);
  ConvPlan(desc).run(arrays.operands());
  return arrays.out.values();
}

template <class Body>
void for_each_algorithm(ConvDesc desc, bool channels_last, Body&& body) {
  desc.channels_last = channels_last;
  for (const AlgorithmInfo& info : algorithms(desc)) {
    if (!info.usable) continue;
    desc.algorithm = info.name;
    SCOPED_TRACE(info.name);
    body(desc);
  }
}

// Large enough to be cut among threads, in pixels and in channels.
const ConvDesc kLarge{
    .x_shape = {2, 24, 20, 21}, .w_shape = {70, 12, 3, 3}, .pad_lo = {1, 1}, .pad_hi = {1, 1}, .groups = 2};
const ConvDesc kFewPixels{.x_shape = {1, 96, 4, 4}, .w_shape = {160, 96, 3, 3}, .stride = {2, 2}, .pad_lo = {1, 1}};

TEST_F(Plan, GivesTheSameBitsForAnyNumberOfThreads) {
  for (const ConvDesc& problem : {kLarge, kFewPixels})
    for (ConvOp op : kOps)
      for (Order order : {Order::channels_first, Order::channels_last}) {
        ConvDesc desc = problem;
        desc.op = op;
        for_each_algorithm(desc, order == Order::channels_last, [&](const ConvDesc& d) {
          set_num_threads(1);
          const std::vector<float> expected = result(d, order);
          for (int threads : {2, 3, 7}) {
            set_num_threads(threads);
            EXPECT_TRUE(same_bits(result(d, order), expected)) << testing::name(op) << ", " << threads << " threads";
          }
        });
      }
}

TEST_F(Plan, GivesTheSameBitsForEveryPartOfABatch) {
  set_num_threads(2);
  for (ConvOp op : {ConvOp::forward, ConvOp::grad_input})
    for (int64_t height : {3, 20}) {
      ConvDesc whole{
          .op = op, .x_shape = {5, 6, height, 9}, .w_shape = {20, 6, 3, 3}, .pad_lo = {1, 1}, .pad_hi = {1, 1}};
      for_each_algorithm(whole, false, [&](const ConvDesc& d) {
        const Arrays<float> all = make_arrays<float>(d, Order::channels_first, true, false);
        ConvPlan(d).run(all.operands());
        ConvDesc one = d;
        one.x_shape[0] = 1;
        const ConvPlan plan(one);
        for (int64_t n = 0; n < 5; ++n) {
          Arrays<float> part = make_arrays<float>(one, Order::channels_first, true, false);
          ConvOperands o = part.operands();
          o.b = all.b.view();
          o.bias = all.bias.view();
          o.scale = all.scale.view();
          o.a.data = static_cast<float*>(all.a.view().data) + n * all.a.view().strides[0];
          o.residual.data = static_cast<float*>(all.residual.view().data) + n * all.residual.view().strides[0];
          plan.run(o);
          const float* from = static_cast<float*>(all.out.view().data) + n * all.out.view().strides[0];
          const std::vector<float> expected(from, from + part.out.values().size());
          EXPECT_TRUE(same_bits(part.out.values(), expected)) << testing::name(op) << ", image " << n;
        }
      });
    }
}

TEST_F(Plan, GivesTheSameBitsWithAndWithoutPackedWeights) {
  for (ConvOp op : {ConvOp::forward, ConvOp::grad_input}) {
    ConvDesc desc = kLarge;
    desc.op = op;
    for_each_algorithm(desc, false, [&](const ConvDesc& d) {
      const Arrays<float> arrays = make_arrays<float>(d, Order::channels_first, true);
      ConvPlan plan(d);
      plan.run(arrays.operands());
      const std::vector<float> expected = arrays.out.values();
      EXPECT_EQ(plan.packed_bytes(), 0u);
      plan.pack(arrays.b.view());
      EXPECT_GT(plan.packed_bytes(), 0u);
      arrays.b.fill(std::nanf(""));  // the caller's weights may change or go
      arrays.out.fill(0);
      plan.run(arrays.operands());
      EXPECT_TRUE(same_bits(arrays.out.values(), expected)) << testing::name(op);
      ConvPlan moved = std::move(plan);
      arrays.out.fill(0);
      moved.run(arrays.operands());
      EXPECT_TRUE(same_bits(arrays.out.values(), expected)) << testing::name(op) << ", moved";
    });
  }
}

TEST_F(Plan, KeepsTheLevelItWasMadeUnder) {
  for (Isa made : levels()) {
    set_isa(made);
    ConvDesc desc = kLarge;
    desc.algorithm = "im2win";
    const Arrays<float> arrays = make_arrays<float>(desc, Order::channels_first, true);
    ConvPlan plan(desc), packed(desc);
    packed.pack(arrays.b.view());
    plan.run(arrays.operands());
    const std::vector<float> expected = arrays.out.values();
    const std::string algorithm = plan.algorithm();
    const size_t workspace = plan.workspace_bytes();
    for (Isa now : levels()) {
      set_isa(now);
      for (const ConvPlan* p : {&plan, &packed}) {
        arrays.out.fill(0);
        p->run(arrays.operands());
        EXPECT_TRUE(same_bits(arrays.out.values(), expected))
            << omniconv::name(made) << " then " << omniconv::name(now);
      }
      EXPECT_EQ(plan.algorithm(), algorithm);
      EXPECT_EQ(plan.workspace_bytes(), workspace);
    }
  }
}

// Memory of just so many bytes at a 64-byte boundary, full of NaN.
class Scratch {
 public:
  explicit Scratch(size_t bytes) : memory_(std::aligned_alloc(64, bytes)) { std::memset(memory_, 0xff, bytes); }
  ~Scratch() { std::free(memory_); }
  Scratch(const Scratch&) = delete;
  void* data() const { return memory_; }

 private:
  void* memory_;
};

TEST_F(Plan, StaysInsideTheWorkspaceItAskedFor) {
  constexpr size_t kGuard = 4096;
  for (const Case& c : cases())
    for (ConvOp op : kOps)
      for (int threads : {1, 3}) {
        ConvDesc desc = c.desc;
        desc.op = op;
        set_num_threads(threads);
        for (bool last : {false, true})
          for_each_algorithm(desc, last, [&](const ConvDesc& d) {
            SCOPED_TRACE(std::string(c.name) + ", " + testing::name(op) + ", " + std::to_string(threads) + " threads");
            const Arrays<float> arrays =
                make_arrays<float>(d, last ? Order::channels_last : Order::channels_first, true);
            const ConvPlan plan(d);
            const size_t bytes = plan.workspace_bytes();
            EXPECT_EQ(bytes % 64, 0u);
            plan.run(arrays.operands());
            const std::vector<float> expected = arrays.out.values();
            const Scratch exact(bytes), guarded(bytes + kGuard);
            arrays.out.fill(0);
            plan.run(arrays.operands(), exact.data(), bytes);
            EXPECT_TRUE(same_bits(arrays.out.values(), expected));
            arrays.out.fill(0);
            plan.run(arrays.operands(), guarded.data(), bytes);
            EXPECT_TRUE(same_bits(arrays.out.values(), expected));
            const auto* guard = static_cast<unsigned char*>(guarded.data()) + bytes;
            EXPECT_EQ(std::count(guard, guard + kGuard, 0xff), int64_t(kGuard)) << "written behind the workspace";
          });
      }
}

TEST_F(Plan, RefusesAWorkspaceThatDoesNotFit) {
  set_num_threads(2);
  const Arrays<float> arrays = make_arrays<float>(kLarge, Order::channels_first, true);
  const ConvPlan plan(kLarge);
  const size_t bytes = plan.workspace_bytes();
  const Scratch scratch(bytes + 64);
  const auto run = [&](size_t offset, size_t size) {
    return error_code([&] { plan.run(arrays.operands(), static_cast<char*>(scratch.data()) + offset, size); },
                      {"workspace"});
  };
  EXPECT_EQ(run(0, bytes), Code::ok);
  EXPECT_EQ(run(0, bytes - 1), Code::invalid_argument);
  EXPECT_EQ(run(0, 0), Code::invalid_argument);
  EXPECT_EQ(run(32, bytes), Code::invalid_argument);
  set_num_threads(3);
  EXPECT_EQ(run(0, bytes), Code::invalid_argument);
  EXPECT_EQ(error_code([&] { plan.run(arrays.operands(), scratch.data(), bytes); },
                       {std::to_string(bytes).c_str(), std::to_string(plan.workspace_bytes()).c_str(), "3 thread"}),
            Code::invalid_argument);
}

TEST_F(Plan, TellsAboutItself) {
  ConvDesc desc = kLarge;
  const ConvPlan plan(desc);
  EXPECT_EQ(plan.output_shape(), (Shape{2, 70, 20, 21}));
  EXPECT_DOUBLE_EQ(plan.flops(), 2.0 * 2 * 70 * 20 * 21 * 12 * 9);
  EXPECT_EQ(plan.algorithm(), algorithms(desc).front().name);
  for (const char* part : {"conv2d forward", "(2, 24, 20, 21)", "(70, 12, 3, 3)", "float32", "reference", "direct"})
    EXPECT_NE(plan.explain().find(part), std::string::npos) << part << " is not in " << plan.explain();
  for (const AlgorithmInfo& info : algorithms(desc)) EXPECT_EQ(info.usable, info.reason.empty()) << info.name;
  desc.op = ConvOp::grad_input;
  EXPECT_EQ(ConvPlan(desc).output_shape(), desc.x_shape);
  desc.op = ConvOp::grad_weight;
  EXPECT_EQ(ConvPlan(desc).output_shape(), desc.w_shape);
}

TEST_F(Plan, TakesWhatWasMeasuredToBeFastest) {
  for (const ConvOp op : {ConvOp::forward, ConvOp::grad_input, ConvOp::grad_weight}) {
    clear_tuned_problems();
    ConvDesc desc = kLarge;
    desc.op = op;
    for (const AlgorithmInfo& info : tune(desc, 1e-9))
      EXPECT_EQ(info.measured > 0, info.usable && info.name != "reference") << info.name;
    std::vector<TunedProblem> problems = tuned_problems();
    ASSERT_EQ(problems.size(), 1u);
    const std::vector<MeasuredTime> measured = problems[0].times;
    for (const MeasuredTime& favourite : measured) {
      problems[0].times = measured;
      for (MeasuredTime& time : problems[0].times) time.seconds = time.algorithm == favourite.algorithm ? 1e-9 : 1;
      add_tuned_problems(problems);
      desc.channels_last = favourite.channels_last;
      EXPECT_EQ(algorithms(desc).front().name, favourite.algorithm);
    }
  }
  EXPECT_EQ(error_code([] { add_tuned_problems({{"key", {{"direct", false, -1.0}}}}); }, {"'direct'", "'key'"}),
            Code::invalid_argument);
  clear_tuned_problems();
  EXPECT_TRUE(tuned_problems().empty());
  EXPECT_EQ(error_code([] { tune(kLarge, 0); }, {"seconds"}), Code::invalid_argument);
}

TEST_F(Plan, LeavesOutWhatTakesMoreMemoryThanTheLimit) {
  ConvDesc desc = kLarge;
  for (const AlgorithmInfo& info : algorithms(desc)) {
    if (!info.usable || info.workspace_bytes == 0) continue;
    desc.workspace_limit = int64_t(info.workspace_bytes) - 1;
    for (const AlgorithmInfo& other : algorithms(desc))
      if (other.name == info.name) {
        EXPECT_NE(other.reason.find("workspace_limit"), std::string::npos) << other.name;
      }
    EXPECT_NE(ConvPlan(desc).algorithm(), info.name);
  }
}

TEST_F(Plan, NamesTheAlgorithmThatDeclines) {
  ConvDesc desc = kLarge;
  desc.algorithm = "direct";
  const Arrays<float> arrays = make_arrays<float>(desc, Order::channels_first, false);
  EXPECT_EQ(error_code([&] { convolve(desc, arrays.operands()); }, {"'direct'", "NHWC"}), Code::not_supported);
  desc.dtype = DType::float64;
  EXPECT_EQ(error_code([&] { ConvPlan plan(desc); }, {"'direct'", "float64"}), Code::not_supported);
  desc.dtype = DType::float32;
  desc.op = ConvOp::grad_weight;
  EXPECT_EQ(error_code([&] { ConvPlan plan(desc); }, {"'direct'", "gradient of the weights"}), Code::not_supported);
}

// ---- operands
// ----------------------------------------------------------------------------------------------------------

TEST_F(Plan, ErrorsNameTheOperand) {
  const ConvDesc desc{.x_shape = {1, 4, 6, 6}, .w_shape = {5, 4, 3, 3}};
  const Arrays<float> arrays = make_arrays<float>(desc, Order::channels_first, true, false);
  ConvPlan plan(desc);
  const ConvOperands good = arrays.operands();
  const auto code = [&](const ConvOperands& o, std::initializer_list<const char*> parts) {
    return error_code([&] { plan.run(o); }, parts);
  };
  EXPECT_EQ(code(good, {}), Code::ok);
  const auto with = [&](TensorView ConvOperands::* which, const TensorView& view) {
    ConvOperands o = good;
    o.*which = view;
    return o;
  };
  const std::pair<TensorView ConvOperands::*, const char*> all[] = {
      {&ConvOperands::a, "x"},       {&ConvOperands::b, "weight"},    {&ConvOperands::out, "out"},
      {&ConvOperands::bias, "bias"}, {&ConvOperands::scale, "scale"}, {&ConvOperands::residual, "residual"}};
  for (const auto& [which, argument] : all) {
    SCOPED_TRACE(argument);
    TensorView view = good.*which;
    const std::string found = shape_string(view.shape.data(), view.ndim);
    view.shape[0] += 1;
    const std::string wrong = shape_string(view.shape.data(), view.ndim);
    EXPECT_EQ(code(with(which, view), {argument, wrong.c_str(), found.c_str()}), Code::invalid_argument);
    view = good.*which;
    --view.ndim;
    if (view.ndim == 0) view.ndim = 2;
    EXPECT_EQ(code(with(which, view), {argument, "shape"}), Code::invalid_argument);
    view = good.*which;
    view.dtype = DType::float64;
    EXPECT_EQ(code(with(which, view), {argument, "float64", "float32"}), Code::type_error);
    view = good.*which;
    view.data = nullptr;
    EXPECT_EQ(code(with(which, view), {argument, "no data"}), Code::invalid_argument);
    if (which == &ConvOperands::out) continue;
    // The output on the last element of the input.
    view = good.*which;
    std::fill(view.strides.begin(), view.strides.end(), 0);
    view.data = static_cast<float*>(good.out.data) + 5 * 4 * 4 - 1;
    EXPECT_EQ(code(with(which, view), {"out overlaps", argument}), Code::invalid_argument);
    view.data = static_cast<float*>(good.out.data) + 5 * 4 * 4;
    EXPECT_EQ(code(with(which, view), {}), Code::ok);
  }
  for (auto which : {&ConvOperands::a, &ConvOperands::b, &ConvOperands::out})
    EXPECT_EQ(code(with(which, {}), {"missing"}), Code::invalid_argument);

  TensorView folded = good.out;
  folded.strides[2] = 1;  // rows that share elements
  EXPECT_EQ(code(with(&ConvOperands::out, folded), {"out", "overlaps itself"}), Code::invalid_argument);
}

TEST_F(Plan, TheGradientOfTheWeightsTakesNoEpilogue) {
  const ConvDesc desc{.op = ConvOp::grad_weight, .x_shape = {1, 4, 6, 6}, .w_shape = {5, 4, 3, 3}};
  const Arrays<float> arrays = make_arrays<float>(desc, Order::channels_first, false, false);
  ConvOperands o = arrays.operands();
  ConvPlan plan(desc);
  plan.run(o);
  o.bias = arrays.bias.view();
  EXPECT_EQ(error_code([&] { plan.run(o); }, {"bias", "gradient of the weights"}), Code::invalid_argument);
  EXPECT_EQ(error_code([&] { plan.pack(arrays.out.view()); }, {"no weights to pack"}), Code::invalid_argument);
}

TEST_F(Plan, PackChecksTheWeights) {
  ConvPlan plan({.x_shape = {1, 4, 6, 6}, .w_shape = {5, 4, 3, 3}});
  const Array<float> wrong({5, 4, 3, 2}, Order::channels_first, 1);
  const Array<double> other({5, 4, 3, 3}, Order::channels_first, 1);
  EXPECT_EQ(error_code([&] { plan.pack(wrong.view()); }, {"weight", "(5, 4, 3, 2)", "(5, 4, 3, 3)"}),
            Code::invalid_argument);
  EXPECT_EQ(error_code([&] { plan.pack(other.view()); }, {"weight", "float64"}), Code::type_error);
  EXPECT_EQ(error_code([&] { plan.pack({}); }, {"weight is missing"}), Code::invalid_argument);
}

// ---- convolve ------------------------------------------------------------------------------------------------------

TEST_F(Plan, ConvolveTakesShapesFromItsOperands) {
  for (const Case& c : cases())
    for (ConvOp op : kOps) {
      ConvDesc desc = c.desc;
      desc.op = op;
      desc.weights_change = true;
      const std::vector<float> expected = result(desc);
      const Arrays<float> arrays = make_arrays<float>(desc, Order::channels_first, true);
      desc.x_shape.clear();
      desc.weights_change = false;
      desc.w_shape.clear();
      desc.spatial = 2;
      desc.dtype = DType::float64;
      convolve(desc, arrays.operands());
      EXPECT_TRUE(same_bits(arrays.out.values(), expected)) << c.name << ", " << testing::name(op);
    }
}

TEST_F(Plan, ConvolveNamesWhatIsMissingOrWrong) {
  const Array<float> x({1, 2, 5}, Order::channels_first, 1), w({3, 2, 2}, Order::channels_first, 2);
  const Array<float> y({1, 3, 4}, Order::channels_first), flat({6, 2}, Order::channels_first, 1);
  const Array<double> wide({3, 2, 2}, Order::channels_first, 1);
  const auto code = [](ConvOp op, const ConvOperands& o, std::initializer_list<const char*> parts) {
    return error_code([&] { convolve({.op = op}, o); }, parts);
  };
  EXPECT_EQ(code(ConvOp::forward, {.a = x.view(), .b = w.view(), .out = y.view()}, {}), Code::ok);
  EXPECT_EQ(code(ConvOp::forward, {.b = w.view(), .out = y.view()}, {"x is missing"}), Code::invalid_argument);
  EXPECT_EQ(code(ConvOp::forward, {.a = x.view(), .out = y.view()}, {"weight is missing"}), Code::invalid_argument);
  EXPECT_EQ(code(ConvOp::grad_input, {.a = y.view(), .b = w.view()}, {"out is missing"}), Code::invalid_argument);
  EXPECT_EQ(code(ConvOp::grad_weight, {.a = y.view(), .b = x.view()}, {"out is missing"}), Code::invalid_argument);
  EXPECT_EQ(code(ConvOp::grad_input, {.b = w.view(), .out = x.view()}, {"grad is missing"}), Code::invalid_argument);
  EXPECT_EQ(
      code(ConvOp::forward, {.a = x.view(), .b = flat.view(), .out = y.view()}, {"weight", "2 dimensions", "3 to 5"}),
      Code::invalid_argument);
  EXPECT_EQ(code(ConvOp::forward, {.a = flat.view(), .b = w.view(), .out = y.view()}, {"x has 2 dimensions"}),
            Code::invalid_argument);
  EXPECT_EQ(
      code(ConvOp::forward, {.a = x.view(), .b = wide.view(), .out = y.view()}, {"weight", "float64", "x has float32"}),
      Code::type_error);
}

TEST_F(Plan, OperandsOfAnotherDeviceAreNamed) {
  float memory[4] = {1, 2, 3, 4}, out[4];
  ConvDesc desc;
  desc.spatial = 1;
  desc.x_shape = {1, 1, 4};
  desc.w_shape = {1, 1, 1};
  if (plugin_of({})) GTEST_SKIP() << "arrays go to the emulator";
  const ConvPlan plan(desc);
  ConvOperands o{{memory, {1, 1, 4}}, {memory, {1, 1, 1}}, {out, {1, 1, 4}}};
  plan.run(o);
  for (TensorView* view : {&o.a, &o.b, &o.out}) {
    view->device = {kDLCUDA, 1};
    try {
      plan.run(o);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("is on cuda:1; the other arrays are on the CPU"), std::string::npos)
          << error.what();
    }
    view->device = {};
  }
}

}  // namespace
}  // namespace omniconv
