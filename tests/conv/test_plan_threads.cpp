// tests/conv/test_plan_threads.cpp -- several threads run one plan at once; also what ThreadSanitizer looks at
#include <atomic>
#include <thread>

#include "conv/conv_testing.hpp"

namespace omniconv {
namespace {

using namespace omniconv::testing;

// Every thread runs `plan` on arrays of its own, in turn with the library's workspace and with one of its own.
void run_on_threads(const ConvPlan& plan, const ConvDesc& desc, Order order, const std::vector<float>& expected) {
  constexpr int kThreads = 3, kRepeats = 4;
  std::atomic<int> waiting{kThreads}, same{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&] {
      const Arrays<float> arrays = make_arrays<float>(desc, order, true);
      const size_t bytes = plan.workspace_bytes();
      void* workspace = std::aligned_alloc(64, std::max<size_t>(bytes, 64));
      for (--waiting; waiting > 0;) std::this_thread::yield();
      for (int repeat = 0; repeat < kRepeats; ++repeat) {
        arrays.out.fill(0);
        if (repeat % 2)
          plan.run(arrays.operands(), workspace, bytes);
        else
          plan.run(arrays.operands());
        same += arrays.out.values() == expected;
      }
      std::free(workspace);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(same, kThreads * kRepeats);
}

TEST(PlanThreads, OnePlanServesThemAllWithTheSameBits) {
  const Settings settings;
  const ConvDesc problem{.x_shape = {2, 8, 12, 13},
                         .w_shape = {36, 4, 3, 3},
                         .stride = {1, 2},
                         .pad_lo = {1, 1},
                         .pad_hi = {1, 1},
                         .groups = 2};
  for (int pool : {1, 2})
    for (ConvOp op : kOps)
      for (Order order : {Order::channels_first, Order::channels_last}) {
        ConvDesc desc = problem;
        desc.op = op;
        desc.channels_last = order == Order::channels_last;
        for (const AlgorithmInfo& info : algorithms(desc)) {
          if (!info.usable) continue;
          SCOPED_TRACE(std::string(testing::name(op)) + ", " + info.name + ", " + std::to_string(pool) + " threads");
          desc.algorithm = info.name;
          set_num_threads(pool);
          const Arrays<float> arrays = make_arrays<float>(desc, order, true);
          ConvPlan plan(desc);
          plan.run(arrays.operands());
          const std::vector<float> expected = arrays.out.values();
          run_on_threads(plan, desc, order, expected);
          if (op == ConvOp::grad_weight) continue;
          plan.pack(arrays.b.view());
          run_on_threads(plan, desc, order, expected);
        }
      }
}

TEST(PlanThreads, PlansAreMadeAndSettingsChangedMeanwhile) {
  const Settings settings;
  const ConvDesc desc{.x_shape = {1, 4, 10, 10}, .w_shape = {8, 4, 3, 3}, .algorithm = "im2win"};
  set_isa(available_isas().back());
  set_num_threads(2);
  const Arrays<float> arrays = make_arrays<float>(desc, Order::channels_first, true);
  ConvPlan plan(desc);
  plan.run(arrays.operands());
  const std::vector<float> expected = arrays.out.values();
  std::atomic<bool> stop{false};
  std::atomic<int> changes{0};
  std::thread other([&] {
    for (int i = 0; !stop; ++i) {
      set_num_threads(1 + i % 3);
      set_isa(available_isas()[i % available_isas().size()]);
      const ConvPlan made(desc);
      ++changes;
    }
  });
  for (int repeat = 0; repeat < 50 || changes < 50; ++repeat) {
    arrays.out.fill(0);
    plan.run(arrays.operands());  // not with a workspace of ours: its size follows the number of threads
    EXPECT_EQ(arrays.out.values(), expected);
  }
  stop = true;
  other.join();
}

}  // namespace
}  // namespace omniconv
