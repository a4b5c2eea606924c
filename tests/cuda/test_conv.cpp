// cuda/test_conv.cpp -- the CUDA kernels on the emulator: every algorithm on the table of problems, every schedule and
// layout in turn; memory beside the arrays stays untouched. This is what the sanitizers see of them.
//
// Runs with OMNICONV_DEVICE=emu. The oracle is the plugin's own reference; tests/conv holds that against PyTorch.
#include <map>

#include "conv/conv_testing.hpp"

namespace omniconv {
namespace {

using namespace omniconv::testing;

constexpr const char* kSchedules[] = {"lock-step", "run-ahead", "random:1", "random:2"};

class Emulated : public ::testing::TestWithParam<ConvOp> {};

double promised(Precision precision) {
  return precision == Precision::highest ? 1e-6 : precision == Precision::high ? 2e-5 : 6e-3;
}

TEST_P(Emulated, EveryAlgorithmOnEveryProblem) {
  ASSERT_EQ(array_device(), "emu");
  std::map<std::string, int> runs;
  int turn = 0;
  for (const Case& c : cases()) {
    ConvDesc desc = c.desc;
    desc.op = GetParam();
    const bool epilogue = desc.op != ConvOp::grad_weight && turn % 2 == 0;
    desc.activation = epilogue ? Activation::silu : Activation::none;
    const std::vector<double> expected = oracle(desc, epilogue);
    for (Precision precision : {Precision::highest, Precision::high, Precision::medium}) {
      desc.precision = precision;
      desc.algorithm = "auto";
      for (const AlgorithmInfo& info : algorithms(desc)) {
        if (!info.usable || (precision != Precision::highest && info.name != "tensor_cores")) continue;
        const Order order = kOrders[++turn % std::size(kOrders)];
        const char* schedule = kSchedules[turn % std::size(kSchedules)];
        SCOPED_TRACE(std::string(c.name) + ", " + testing::name(desc.op) + ", " + info.name + ", " + schedule +
                     ", order " + std::to_string(int(order)));
        setenv("OMNICONV_EMU_SCHEDULE", schedule, 1);
        desc.algorithm = info.name;
        const Arrays<float> arrays = make_arrays<float>(desc, order, epilogue);
        ConvOperands operands = arrays.operands();
        ConvPlan plan(desc);
        if (desc.op != ConvOp::grad_weight && turn % 3 == 0) {
          plan.pack(operands.b);
          operands.b = {};
        }
        plan.run(operands);
        EXPECT_LE(relative_error(arrays.out.values(), expected), promised(precision));
        EXPECT_TRUE(arrays.out.untouched()) << "written beside the output";
        ++runs[info.name];
      }
    }
  }
  const int all = int(cases().size());
  EXPECT_EQ(runs["implicit_gemm"], all);
  EXPECT_EQ(runs["reference"], all);
  EXPECT_EQ(runs["tensor_cores"], 2 * all);
  EXPECT_GE(runs["depthwise"], 2);
}

INSTANTIATE_TEST_SUITE_P(Ops, Emulated, ::testing::ValuesIn(kOps),
                         [](const auto& info) { return testing::name(info.param); });

TEST(EmulatedPlan, RunsInWorkspaceOfTheCaller) {
  ConvDesc desc = cases()[1].desc;
  const Arrays<float> arrays = make_arrays<float>(desc, Order::channels_first, false);
  const ConvPlan plan(desc);
  alignas(64) static char room[1 << 20];
  ASSERT_GT(plan.workspace_bytes(), 0u);
  ASSERT_LE(plan.workspace_bytes(), sizeof room);
  plan.run(arrays.operands(), room, plan.workspace_bytes());
  EXPECT_LE(relative_error(arrays.out.values(), oracle(desc, false)), 1e-6);
  EXPECT_EQ(error_code([&] { plan.run(arrays.operands(), room, plan.workspace_bytes() - 1); }, {"workspace"}),
            Code::invalid_argument);
}

TEST(EmulatedPlan, AFaultOfAKernelIsAnErrorOfTheCall) {
  // A schedule that is none makes every launch fail.
  ConvDesc desc = cases()[0].desc;
  const Arrays<float> arrays = make_arrays<float>(desc, Order::channels_first, false);
  setenv("OMNICONV_EMU_SCHEDULE", "sideways", 1);
  EXPECT_EQ(error_code([&] { ConvPlan(desc).run(arrays.operands()); }, {"sideways"}), Code::internal);
  unsetenv("OMNICONV_EMU_SCHEDULE");
}

}  // namespace
}  // namespace omniconv
