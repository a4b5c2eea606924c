// sparse/grad_weight.cpp -- gradient of the weights: per tap, a sum of outer products over its pairs
//
// A task is a tap times a run of tiles. Within a tile the rows of a tap, some 60 pairs of two rows, stay in L2 while
// the register tiles pass over them. Each run has sums of its own, added in order in the end, so threads change
// nothing.
#include <algorithm>
#include <cstring>

#include "core/thread_pool.hpp"
#include "reference/sparse.hpp"
#include "sparse/kernels.hpp"
#include "sparse/operands.hpp"

namespace omniconv {
namespace sparse {
namespace {

constexpr int64_t kRun = 32;  // tiles: eight runs for a sweep of 125,000 sites

struct Work {
  const SparseMap& map;
  const Kernels& kernel;
  const float *x, *g;
  int64_t x_step, g_step, in_channels, out_channels, c_row;
};

void add_run(const Work& w, int64_t tap, int64_t first, int64_t last, float* sums) {
  const float* a[SparseMap::kTile];
  const float* b[SparseMap::kTile];
  const int64_t panel = 2 * w.kernel.lanes;
  for (int64_t tile = first; tile < last; ++tile) {
    const SparseMap::Tile& t = w.map.tiles()[size_t(tile)];
    const int32_t begin = t.begin[size_t(tap)], pairs = t.begin[size_t(tap) + 1] - begin;
    for (int32_t p = 0; p < pairs; ++p) {
      const SparseMap::Pair pair = t.pairs[size_t(begin + p)];
      a[p] = w.x + pair.in * w.x_step;
      b[p] = w.g + w.map.out_row(tile, pair.out) * w.g_step;
    }
    if (pairs == 0) continue;
    for (int64_t j = 0; j < w.out_channels; j += panel) {
      const int64_t lanes = std::min(panel, w.out_channels - j);
      w.kernel.outer[lanes > w.kernel.lanes ? 2 : 1](
          {a, b, pairs, 0, j, sums + j, w.c_row, int(w.in_channels), int(lanes)});
    }
  }
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
