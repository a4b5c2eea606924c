// conv/planar.cpp -- convolution of planes: lanes are the pixels of a row, for few channels and for depthwise
//
// For NCHW nothing is transposed, neither on the way in nor out. A block of input rows is copied to a strip where
// borders are written out and columns of one phase (column modulo stride) lie together, so every tap is a shifted row.
// A tile is either several output channels over one row (conv1-like stems), or several rows of one output channel
// (depthwise, where a panel of channels would hold one).
#include <algorithm>

#include "conv/planar_nest.hpp"
#include "core/thread_pool.hpp"

namespace omniconv::conv {
namespace {

PlanarStrip strip_of(const Problem& p, const Kernels& k) { return PlanarStrip(p, k).cut(p.axis[1].out); }

size_t worker_bytes(const Problem& p, const Kernels& k) {
  return align64(strip_of(p, k).floats() * sizeof(float)) +
         align64(kMaxPlanarRows * kMaxPlanarVectors * k.lanes * sizeof(float));
}
size_t offset_bytes(const Problem& p) { return align64(2 * p.k() * sizeof(int64_t)); }

std::string decline(const Problem& p, Layout) { return decline_strip(p, 1); }

size_t workspace(const Problem& p, Target t) { return offset_bytes(p) + t.threads * worker_bytes(p, t.kernels); }

constexpr int64_t kParts = 32;  // for each thread

constexpr double kWeightsAtHand = 128 << 10;  // bytes: a quarter of the L2 cache of a small core

double cost(const Problem& p, Layout layout, Target t) {
  const Kernels& k = t.kernels;
  const PlanarStrip strip = strip_of(p, k);
  const double rows = double(p.rows()) * double(p.groups);
  const double vectors = rows * double(p.co) * double(ceil_div(p.axis[2].out, k.lanes));
  // Cycles beside the products, measured on stems of 1 to 32 channels and on depthwise layers: 3 to begin and end a
  // vector of a tile of channels, 6 of a tile of rows; strips at 4 floats a cycle, 1.7 with stride 2, 1 where columns
  // are picked apart one by one. Channels last: every float in and out on its own. Rows of more than 64 channels are
  // more streams than the prefetchers of the caches follow, 25 cycles for a line of 16; and every row of outputs reads
  // all the weights of its group, from beyond L1 at 16 bytes a cycle (1x1 kernels on 64 to 768 channels).
  const double weights = double(p.co) * double(p.k()) * sizeof(float);
  const double reads = weights > kWeightsAtHand ? rows * weights / 16 : 0;
  const double sums = vectors * (double(p.k()) * 2 * k.lanes / k.peak + (planar_over_channels(p) ? 3 : 6));
  const double strips = rows / double(strip.block) * p.ci * p.axis[0].taps * double(strip.rows(strip.block)) *
                        double(strip.line) *
                        (layout.channels_contiguous ? 3.0
                         : p.ci > 64                ? 1.5
                         : p.axis[2].stride == 1    ? 0.25
                         : p.axis[2].stride == 2    ? 0.6
                                                    : 1.0);
  const double scattered = layout.channels_contiguous ? double(p.pixels()) * double(p.groups * p.co) * 3 : 0;
  return (sums + strips + reads + scattered) / t.threads;
}

void run(const Run& r) {
  const Problem& p = r.problem;
  const Kernels& k = r.target.kernels;
  const PlanarStrip strip = strip_of(p, k);
  const PlanarNest nest(r, strip);
  auto* offsets = reinterpret_cast<int64_t*>(r.workspace);
  strip.offsets(strip.block, offsets);
  strip.offsets(p.axis[1].out - (strip.blocks() - 1) * strip.block, offsets + p.k());
  const size_t each = worker_bytes(p, k);
  // Small planes are handed out several at a time: the counter of tasks moves between the cores each time.
  const int64_t tasks = nest.tasks(), together = std::max<int64_t>(1, tasks / (kParts * r.target.threads));
  parallel_for(ceil_div(tasks, together), r.target.threads, [&](int64_t part, int worker) {
    char* at = r.workspace + offset_bytes(p) + worker * each;
    float *rows, *sums;
    take(at, rows, strip.floats());
    take(at, sums, kMaxPlanarRows * kMaxPlanarVectors * k.lanes);
    for (int64_t task = part * together; task < std::min((part + 1) * together, tasks); ++task) {
      const PlanarNest::Place place = nest.place(task);
      nest.fill(place, place.outputs, rows);
      const int64_t* of_place = place.outputs < strip.block ? offsets + p.k() : offsets;
      planar_over_channels(p) ? nest.channels(place, rows, of_place, sums) : nest.rows(place, rows, of_place, sums);
    }
  });
}

}  // namespace

const Algorithm kPlanar = {
    .name = "planar",
    .summary = "rows of pixels, channel by channel",
    .decline = decline,
    .workspace = workspace,
    .cost = cost,
    .run = run,
    .grad_weight = &kPlanarGradWeight,
};

}  // namespace omniconv::conv
