// conv/im2win_grad_weight.cpp -- gradient of the weights on im2win: windows transposed times gradient
//
// The pixels are cut into slots by the problem alone, never by the threads. A task (group, slot, chunk of channels)
// lays its pixels out in window order, as im2win does, and adds up its own partial sums; the slots are then added in
// order, in float64. So the result has the same bits for any number of threads.
#include <algorithm>

#include "conv/algorithm.hpp"
#include "conv/blocks.hpp"
#include "conv/im2win_rows.hpp"
#include "core/thread_pool.hpp"

namespace omniconv::conv {
namespace {

constexpr size_t kBudget = size_t{1} << 20;           // windows of a block, as in im2win
constexpr size_t kLimit = size_t{16} << 20;           // one window; beyond, the reference
constexpr size_t kPartialBytes = size_t{32} << 20;    // partial sums of all slots
constexpr int64_t kMaxSlots = 256;                    // 256 blocks in a chain err about as much as 256 terms
constexpr int64_t kMostLanes = kMaxTileVectors * 16;  // of a panel

struct Split {
  Partition blocks;
  Panels panels;
  int64_t count, slots, blocks_per_slot, chunks, panels_per_chunk;

  Split(const Problem& p, Target t) : panels(p.co, t.kernels) {
    const WindowRows layout(p);
    blocks = partition(p, panels, 1, kBudget, [&](int64_t columns) {
      return layout.row_floats(columns) * sizeof(float) + layout.copy_bytes(1);
    });
    count = blocks.row_blocks * blocks.column_blocks;
    const int64_t room = int64_t(kPartialBytes / (group_floats(p) * p.groups * sizeof(float) + 1));
    slots = std::clamp<int64_t>(std::min(room, kMaxSlots), 1, std::max<int64_t>(1, count));
    blocks_per_slot = ceil_div(count, slots);
    slots = std::max<int64_t>(1, ceil_div(count, std::max<int64_t>(1, blocks_per_slot)));
    // Each chunk lays out the windows again.
    chunks = std::clamp<int64_t>(4 * t.threads / (slots * p.groups), 1, ceil_div(panels.count(), 2));
    panels_per_chunk = ceil_div(panels.count(), chunks);
    chunks = ceil_div(panels.count(), panels_per_chunk);
  }
  int64_t group_floats(const Problem& p) const { return panels.size(p.k()); }
  size_t partial_bytes(const Problem& p) const { return align64(slots * p.groups * group_floats(p) * sizeof(float)); }
};

struct WorkerMemory {
  const float** rows;
  float* grad;
  WindowRows::Copy<float>* copies;
  float* windows;

  static size_t layout(const Problem& p, const Split& s, char* base, WorkerMemory* out) {
    const WindowRows layout(p);
    const int64_t pixels = s.blocks.max_pixels();
    size_t at = 0;
    auto take = [&](size_t bytes) {
      char* here = base ? base + at : nullptr;
      at += align64(bytes);
      return here;
    };
    WorkerMemory m;
    m.rows = reinterpret_cast<const float**>(take(pixels * sizeof(float*)));
    m.grad = reinterpret_cast<float*>(take(pixels * s.panels.width * sizeof(float)));
    m.copies = reinterpret_cast<WindowRows::Copy<float>*>(take(layout.copy_bytes(s.blocks.rows_per_block)));
    m.windows = reinterpret_cast<float*>(
        take(s.blocks.rows_per_block * layout.row_floats(s.blocks.columns_per_block) * sizeof(float)));
    if (out) *out = m;
    return at;
  }
};

// The gradient of `used` channels at a block's pixels as [pixel][lanes].
void pack_gradient(const Kernels& k, const Problem& p, const Operands& m, const BlockRange& block, int64_t channel,
                   int64_t used, int64_t lanes, float* out) {
  const Axis &da = p.axis[0], &ha = p.axis[1];
  if (used < lanes) std::fill_n(out, block.pixels() * lanes, 0.0f);
  for (int64_t r = 0; r < block.rows; ++r) {
    const int64_t row = block.first_row + r, h = row % ha.out, d = row / ha.out % da.out, n = row / ha.out / da.out;
    float* dst = out + r * block.columns * lanes;
    k.pack(
        {m.y + n * m.ys.n + channel * m.ys.c + d * m.ys.axis[0] + h * m.ys.axis[1] + block.first_column * m.ys.axis[2],
         m.ys.c, m.ys.axis[2], used, block.columns, &dst, 1, lanes});
  }
}

// partial [k][lanes] += windows^T * gradient over the pixels of one block.
void add_block(const Kernels& k, const Problem& p, const Windows& w, int64_t pixels, int vectors, const float* grad,
               bool add, float* partial) {
  const int64_t segments = p.k() / w.segment_length, lanes = int64_t{vectors} * k.lanes;
  for (int64_t s = 0; s < segments; ++s)
    for (int64_t i = 0; i < w.segment_length; i += k.tile_rows[vectors]) {
      const int64_t rows = std::min<int64_t>(k.tile_rows[vectors], w.segment_length - i);
      k.outer[vectors][rows](
          {w.rows, s * w.element_step + i, pixels, grad, partial + (s * w.segment_length + i) * lanes, add});
    }
}

void run_task(const WeightGradientRun& run, const Split& split, int64_t task, float* partials, char* worker) {
  const Problem& p = run.problem;
  const Kernels& k = run.target.kernels;
  const WindowRows layout(p);
  WorkerMemory mine;
  WorkerMemory::layout(p, split, worker, &mine);
  const int64_t chunk = task % split.chunks, slot = task / split.chunks % split.slots,
                group = task / split.chunks / split.slots;
  float* partial = partials + (slot * p.groups + group) * split.group_floats(p);
  const int64_t first = slot * split.blocks_per_slot, end = std::min(first + split.blocks_per_slot, split.count);
  const int64_t first_panel = chunk * split.panels_per_chunk;
  const int64_t end_panel = std::min(first_panel + split.panels_per_chunk, split.panels.count());
  for (int64_t b = first; b < end; ++b) {
    const BlockRange block = split.blocks.block(p, (group * split.count + b) * split.blocks.chunks);
    layout.lay_out<float>({k.pack, mine.windows, mine.copies}, run.memory, group, block.first_row, block.rows,
                          block.first_column, block.columns);
    for (int64_t i = 0; i < block.pixels(); ++i)
      mine.rows[i] = mine.windows + i / block.columns * layout.row_floats(block.columns) +
                     i % block.columns * layout.step * layout.column_stride;
    for (int64_t j = first_panel; j < end_panel; ++j) {
      const int64_t lanes = split.panels.lanes_of(j);
      pack_gradient(k, p, run.memory, block, group * p.co + j * split.panels.width, split.panels.used(j), lanes,
                    mine.grad);
      add_block(k, p, layout.windows(mine.rows), block.pixels(), split.panels.vectors(j), mine.grad, b > first,
                partial + j * split.panels.width * p.k());
    }
  }
}

// dw of one (group, panel, kRows input channels): the slots in order, in float64. A panel has its output channels side
// by side and dw has them far apart: they are turned round in pieces that stay in L1.
constexpr int64_t kRows = 16;

void add_slots(const WeightGradientRun& run, const Split& split, int64_t task, const float* partials) {
  const Problem& p = run.problem;
  const WeightView& v = run.view;
  const int64_t pieces = ceil_div(p.ci, kRows), first = task % pieces * kRows,
                panel = task / pieces % split.panels.count(), group = task / pieces / split.panels.count();
  const int64_t rows = std::min(kRows, p.ci - first), lanes = split.panels.lanes_of(panel),
                used = split.panels.used(panel), slot_floats = p.groups * split.group_floats(p);
  const float* from = partials + group * split.group_floats(p) + panel * split.panels.width * p.k() + first * lanes;
  float* to = run.dw + v.offset + group * v.group + panel * split.panels.width * v.co + first * v.ci;
  for (int64_t kw = 0; kw < p.axis[2].taps; ++kw)
    for (int64_t kd = 0; kd < p.axis[0].taps; ++kd)
      for (int64_t kh = 0; kh < p.axis[1].taps; ++kh, from += p.ci * lanes) {
        double sums[kRows * kMostLanes] = {};
        for (int64_t s = 0; s < split.slots && split.count > 0; ++s)
          for (int64_t i = 0; i < rows * lanes; ++i) sums[i] += from[s * slot_floats + i];
        float* tap = to + kd * v.tap[0] + kh * v.tap[1] + kw * v.tap[2];
        for (int64_t co = 0; co < used; ++co)
          for (int64_t r = 0; r < rows; ++r) tap[co * v.co + r * v.ci] = float(sums[r * lanes + co]);
      }
}

std::string decline(const Problem& p) {
  const WindowRows layout(p);
  const double bytes = double(layout.column_stride) * p.axis[2].window() * sizeof(float) + double(layout.copy_bytes(1));
  if (bytes > double(kLimit))
    return "one window takes " + std::to_string(int64_t(bytes)) + " bytes; a block holds " + std::to_string(kLimit);
  return "";
}

size_t workspace(const Problem& p, Target target) {
  const Split split(p, target);
  return split.partial_bytes(p) + target.threads * WorkerMemory::layout(p, split, nullptr, nullptr);
}

double cost(const Problem& p, Target target) {
  const double floats = double(p.rows()) * p.groups * WindowRows(p).row_floats(p.axis[2].out);
  // Sums of slots are turned round on their way: two cycles each.
  const Split split(p, target);
  const double sums = 2.0 * double(split.slots * p.groups * split.group_floats(p));
  return multiply_cycles(p, target) + (floats * 0.5 + sums) / target.threads;
}

void run_all(const WeightGradientRun& run) {
  const Problem& p = run.problem;
  const Split split(p, run.target);
  auto* partials = reinterpret_cast<float*>(run.workspace);
  char* workers = run.workspace + split.partial_bytes(p);
  const size_t each = WorkerMemory::layout(p, split, nullptr, nullptr);
  const int64_t tasks = split.count > 0 ? p.groups * split.slots * split.chunks : 0;
  parallel_for(tasks, run.target.threads,
               [&](int64_t task, int worker) { run_task(run, split, task, partials, workers + worker * each); });
  parallel_for(p.groups * split.panels.count() * ceil_div(p.ci, kRows), run.target.threads,
               [&](int64_t task, int) { add_slots(run, split, task, partials); });
}

}  // namespace

const WeightGradient kIm2winGradWeight = {decline, workspace, cost, run_all};

}  // namespace omniconv::conv
