// tests/conv/test_blocks.cpp -- the cut of a problem into tasks, packed weights, and what they may cost
#include "conv/algorithm.hpp"
#include "conv/blocks.hpp"
#include "conv/conv_testing.hpp"

namespace omniconv {
namespace {

using namespace omniconv::testing;
using conv::Axis;
using conv::BlockRange;
using conv::Panels;
using conv::Partition;
using conv::Problem;

class Random {
 public:
  int64_t operator()(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }

 private:
  std::mt19937 engine_{5};
};

// A problem of which only the sizes of the output matter.
Problem output_of(int64_t batch, int64_t groups, int64_t co, int64_t d, int64_t h, int64_t w) {
  Problem p;
  p.batch = batch;
  p.groups = groups;
  p.co = co;
  p.axis[0].out = d;
  p.axis[1].out = h;
  p.axis[2].out = w;
  return p;
}

TEST(Panels, HoldEveryChannelOnce) {
  for (Isa isa : levels()) {
    set_isa(isa);
    const conv::Kernels& k = conv::kernels();
    for (int64_t channels = 1; channels <= 200; ++channels) {
      const Panels panels(channels, k);
      int64_t total = 0;
      for (int64_t i = 0; i < panels.count(); ++i) {
        ASSERT_GE(panels.used(i), 1);
        ASSERT_LE(panels.used(i), panels.lanes_of(i));
        ASSERT_LE(panels.vectors(i), k.tile_vectors);
        ASSERT_LT(panels.lanes_of(i) - panels.used(i), panels.width);
        total += panels.used(i);
      }
      EXPECT_EQ(total, channels);
      const int64_t last = panels.count() - 1;
      EXPECT_EQ(panels.size(7), (last * panels.width + panels.lanes_of(last)) * 7);
    }
  }
}

void check_partition(const Problem& p, int threads, size_t budget, int64_t bytes_per_column) {
  const Panels panels(p.co, conv::kernels());
  const Partition part =
      conv::partition(p, panels, threads, budget, [&](int64_t columns) { return size_t(columns * bytes_per_column); });
  EXPECT_LE(part.max_pixels(), conv::kMaxBlockPixels);
  std::vector<int> visits(size_t(p.groups * p.rows() * p.axis[2].out * panels.count()));
  for (int64_t task = 0; task < part.tasks; ++task) {
    const BlockRange b = part.block(p, task);
    ASSERT_GE(b.pixels(), 1);
    ASSERT_LE(b.pixels(), part.max_pixels());
    ASSERT_TRUE(b.rows == 1 || b.columns == p.axis[2].out) << "the pixels of a block are not consecutive";
    // Within its memory, unless a single column is already beyond it.
    ASSERT_TRUE(b.columns == 1 || b.rows * b.columns * bytes_per_column <= int64_t(budget));
    const int64_t end = std::min(part.first_panel(task) + part.panels_per_chunk, panels.count());
    ASSERT_LT(part.first_panel(task), end) << "a task without work";
    for (int64_t r = b.first_row; r < b.first_row + b.rows; ++r)
      for (int64_t c = b.first_column; c < b.first_column + b.columns; ++c)
        for (int64_t j = part.first_panel(task); j < end; ++j)
          ++visits.at(size_t(((b.group * p.rows() + r) * p.axis[2].out + c) * panels.count() + j));
  }
  EXPECT_EQ(std::count(visits.begin(), visits.end(), 1), int64_t(visits.size()));
}

TEST(Partition, VisitsEveryPixelAndPanelOnce) {
  const Settings settings;
  Random random;
  for (Isa isa : levels()) {
    set_isa(isa);
    for (int trial = 0; trial < 400; ++trial) {
      const int64_t wide = trial % 10 == 0 ? 2000 : 60;
      const Problem p =
          output_of(random(0, 4), random(1, 4), random(1, 150), random(1, 3), random(1, 30), random(1, wide));
      const int threads = int(random(1, trial % 3 ? 4 : 64));
      SCOPED_TRACE(::testing::Message() << "trial " << trial << ", " << threads << " threads");
      check_partition(p, threads, size_t(random(1, 1 << 16)), random(1, 400));
    }
  }
}

TEST(Partition, SharesLargeProblemsAmongThreads) {
  const Settings settings;
  for (int threads : {2, 3, 16}) {
    const Panels panels(64, conv::kernels());
    for (const Problem& p :
         {output_of(1, 1, 64, 1, 56, 56), output_of(64, 1, 64, 1, 7, 7), output_of(1, 16, 64, 1, 14, 14)}) {
      const auto part = conv::partition(p, panels, threads, 1 << 20, [](int64_t c) { return size_t(c) * 64; });
      // 56 rows in one panel: 14 blocks of 4 rows are done before 19 of 3, for those would take 16 threads two rounds.
      EXPECT_GE(part.tasks, threads - threads / 8);
    }
  }
}

// The twelve layers of the Im2win paper: channels in, size in, channels out, kernel, stride.
constexpr int64_t kLayers[12][5] = {
    {3, 227, 96, 11, 4}, {3, 231, 96, 11, 4},  {3, 227, 64, 7, 2},   {64, 224, 64, 7, 2},
    {96, 24, 256, 5, 1}, {256, 12, 512, 3, 1}, {3, 224, 64, 3, 1},   {64, 112, 128, 3, 1},
    {64, 56, 64, 3, 1},  {128, 28, 128, 3, 1}, {256, 14, 256, 3, 1}, {512, 7, 512, 3, 1},
};

TEST(Workspace, OfIm2winIsAtMostTwoMegabytesPerThread) {
  const Settings settings;
  for (Isa isa : available_isas()) {
    set_isa(isa);
    for (const auto& [ci, size, co, kernel, stride] : kLayers)
      for (int64_t batch : {1, 16, 128})
        for (bool channels_last : {false, true}) {
          set_num_threads(1);
          ConvPlan plan({.x_shape = {batch, ci, size, size},
                         .w_shape = {co, ci, kernel, kernel},
                         .stride = {stride, stride},
                         .channels_last = channels_last,
                         .algorithm = "im2win"});
          plan.pack(Array<float>({co, ci, kernel, kernel}, Order::channels_first).view());
          for (int threads : {1, 2, 3, 8}) {
            set_num_threads(threads);
            EXPECT_LE(plan.workspace_bytes(), size_t(threads) * 2'000'000)
                << "layer of " << ci << " channels and size " << size << ", batch " << batch << ", " << threads
                << " threads";
          }
        }
  }
}

// ---- packed weights: what is known of them is that the order of the weights in memory does not matter
// ----------------

std::vector<float> packed(const ConvDesc& desc, const TensorView& weight, float poison) {
  const conv::Kernels& k = conv::kernels();
  const Problem p = conv::make_problem(desc);
  conv::WeightView v;
  v.group = p.co * weight.strides[0];
  v.co = weight.strides[0];
  v.ci = weight.strides[1];
  for (int i = 0; i < desc.spatial; ++i) v.tap[conv::kAxes - desc.spatial + i] = weight.strides[2 + i];
  const size_t floats = conv::packed_floats(k, p), guard = 64;
  std::vector<float> all(floats + 2 * guard, poison);
  conv::pack_weights(k, p, static_cast<const float*>(weight.data), v, all.data() + guard);
  for (size_t i = 0; i < guard; ++i) {
    EXPECT_EQ(all[i], poison) << "written before the packed weights";
    EXPECT_EQ(all[guard + floats + i], poison) << "written behind the packed weights";
  }
  return {all.begin() + guard, all.end() - guard};
}

TEST(PackedWeights, HoldEveryWeightWhateverTheOrder) {
  const Settings settings;
  for (Isa isa : levels()) {
    set_isa(isa);
    for (const Case& c : cases()) {
      SCOPED_TRACE(std::string(c.name) + ", " + std::string(omniconv::name(isa)));
      const Array<float> dense(c.desc.w_shape, Order::channels_first, 2);
      const std::vector<float> expected = packed(c.desc, dense.view(), 1e30f);
      // A place that is never written would show the poison, and a lane without a channel must be zero.
      EXPECT_EQ(packed(c.desc, dense.view(), -1e30f), expected);
      std::vector<float> weights = dense.values(), found;
      std::copy_if(expected.begin(), expected.end(), std::back_inserter(found), [](float v) { return v != 0; });
      std::sort(weights.begin(), weights.end());
      std::sort(found.begin(), found.end());
      EXPECT_EQ(found, weights);
      for (Order order : kOrders) {
        const Array<float> other(c.desc.w_shape, order, 2);
        EXPECT_EQ(packed(c.desc, other.view(), 0), expected) << "order " << int(order);
      }
    }
  }
}

}  // namespace
}  // namespace omniconv
