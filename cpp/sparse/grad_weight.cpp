// sparse/grad_weight.cpp -- gradient of the weights: per tap, a sum of outer products over its pairs
//
// A task is a tap times a run of tiles. Its pairs are copied, 128 at a time, to rows that are a line longer than a
// multiple of four lines: where they lie, rows of 64 channels begin in 16 of L1's 64 sets, and the register tiles pass
// over them many times. With 64 channels that and fetching ahead took it from 69 to 110 GFLOP/s (two threads, AVX2).
// Each run has sums of its own, added in order in the end, so threads change nothing.
#include <algorithm>
#include <cstring>

#include "core/thread_pool.hpp"
#include "reference/sparse.hpp"
#include "sparse/kernels.hpp"
#include "sparse/operands.hpp"

namespace omniconv {
namespace sparse {
namespace {

constexpr int64_t kRun = 32;     // tiles: eight runs for a sweep of 125,000 sites
constexpr int64_t kBatch = 128;  // pairs: a line of each and of the other row's panel are 24 KiB
constexpr int64_t kLine = 16;    // floats

struct Work {
  const SparseMap& map;
  const Kernels& kernel;
  const float *x, *g;
  int64_t x_step, g_step, in_channels, out_channels, c_row;
};

int64_t padded(int64_t channels) { return (channels + 4 * kLine - 1) / (4 * kLine) * (4 * kLine) + kLine; }

class Batch {
 public:
  Batch(const Work& w, float* sums)
      : w_(w),
        sums_(sums),
        a_step_(padded(w.in_channels)),
        b_step_(padded(w.out_channels)),
        scratch_(size_t(kBatch * (a_step_ + b_step_)) * sizeof(float)) {
    for (int64_t p = 0; p < kBatch; ++p) {
      a_[p] = static_cast<float*>(scratch_.data()) + p * a_step_;
      b_[p] = static_cast<float*>(scratch_.data()) + kBatch * a_step_ + p * b_step_;
    }
  }
  void add(const float* x, const float* g) {
    std::memcpy(a_[count_], x, size_t(w_.in_channels) * sizeof(float));
    std::memcpy(b_[count_], g, size_t(w_.out_channels) * sizeof(float));
    if (++count_ == kBatch) flush();
  }
  void flush() {
    const int64_t panel = 2 * w_.kernel.lanes;
    for (int64_t j = 0; count_ > 0 && j < w_.out_channels; j += panel) {
      const int64_t lanes = std::min(panel, w_.out_channels - j);
      w_.kernel.outer[lanes > w_.kernel.lanes ? 2 : 1](
          {a_, b_, count_, 0, j, sums_ + j, w_.c_row, int(w_.in_channels), int(lanes)});
    }
    count_ = 0;
  }

 private:
  const Work& w_;
  float* sums_;
  int64_t a_step_, b_step_, count_ = 0;
  ScopedWorkspace scratch_;
  float *a_[kBatch], *b_[kBatch];
};

void fetch(const float* row, int64_t channels) {
  for (int64_t c = 0; c < channels; c += kLine) __builtin_prefetch(row + c);
}

void add_run(const Work& w, int64_t tap, int64_t first, int64_t last, float* sums) {
  constexpr int32_t kAhead = 8;  // pairs; of a run, rows come from L3
  Batch batch(w, sums);
  for (int64_t tile = first; tile < last; ++tile) {
    const SparseMap::Tile& t = w.map.tiles()[size_t(tile)];
    const int32_t end = t.begin[size_t(tap) + 1];
    const auto x = [&](int32_t p) { return w.x + t.pairs[size_t(p)].in * w.x_step; };
    const auto g = [&](int32_t p) { return w.g + w.map.out_row(tile, t.pairs[size_t(p)].out) * w.g_step; };
    for (int32_t p = t.begin[size_t(tap)]; p < end; ++p) {
      if (p + kAhead < end) fetch(x(p + kAhead), w.in_channels), fetch(g(p + kAhead), w.out_channels);
      batch.add(x(p), g(p));
    }
  }
  batch.flush();
}

void add_group(const Work& w, int64_t group, const Sizes& s, const TensorView& dw) {
  const int64_t tiles = int64_t(w.map.tiles().size()), runs = std::max<int64_t>(1, (tiles + kRun - 1) / kRun);
  const int64_t size = w.in_channels * w.c_row;
  const AlignedBuffer buffer(size_t(runs * size) * size_t(w.map.taps()) * sizeof(float));
  float* sums = static_cast<float*>(buffer.data());
  parallel_for(w.map.taps() * runs, [&](int64_t task, int) {
    float* own = sums + task * size;
    std::memset(own, 0, size_t(size) * sizeof(float));
    const int64_t first = task % runs * kRun;
    add_run(w, task / runs, first, std::min(tiles, first + kRun), own);
  });
  parallel_for(w.map.taps(), [&](int64_t tap, int) {
    float* to = static_cast<float*>(dw.data) + group * s.out_channels * dw.strides[0] + tap * dw.strides[2];
    const float* from = sums + tap * runs * size;
    for (int64_t i = 0; i < w.in_channels; ++i)
      for (int64_t o = 0; o < w.out_channels; ++o) {
        double sum = 0;
        for (int64_t run = 0; run < runs; ++run) sum += double(from[run * size + i * w.c_row + o]);
        to[o * dw.strides[0] + i * dw.strides[1]] = float(sum);
      }
  });
}

}  // namespace
}  // namespace sparse

void sparse_grad_weight(const SparseMap& map, const TensorView& x, const TensorView& g, int64_t groups,
                        const TensorView& dw) {
  using namespace sparse;
  const Sizes s = check_operands(map, x, dw, groups, g, "grad_weight", "grad");
  if (x.dtype == DType::float64) return reference::sparse_grad_weight(map, x, g, groups, dw);
  const Rows xs(x), gs(g);
  const Kernels& kernel = kernels();
  const int64_t c_row = (s.out_channels + kernel.lanes - 1) / kernel.lanes * kernel.lanes;
  for (int64_t group = 0; group < groups; ++group)
    add_group({map, kernel, xs.data() + group * s.in_channels, gs.data() + group * s.out_channels, xs.step(), gs.step(),
               s.in_channels, s.out_channels, c_row},
              group, s, dw);
}

}  // namespace omniconv
