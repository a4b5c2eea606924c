// conv/pointwise_grad_weight.cpp -- gradient of the weights of one tap: gradient times input, summed over all pixels
//
// Blocks of kSumBlock pixels are one chain each; the input of a block is laid out as [pixel][input channels], a few
// panels at a time, and meets the rows of the gradient: a tile is a piece of dw as it lies. The blocks are cut into
// slots by the problem alone, never by the threads; where there is one, the sums are dw. Else they are added in order,
// in float64. So the result has the same bits for any number of threads.
#include <algorithm>

#include "conv/algorithm.hpp"
#include "conv/blocks.hpp"
#include "conv/pixels.hpp"
#include "conv/planar.hpp"
#include "core/thread_pool.hpp"

namespace omniconv::conv {
namespace {

constexpr int64_t kGradRow = kSumBlock + 16;  // rows 2048 bytes apart would share two sets of L1
// Channels last, the gradients of four tiles are copied together, for whole lines; an odd number of lines each.
constexpr int64_t kGradTiles = 4, kGradPixel = 80;
static_assert(kMaxTileRows * kGradTiles <= kGradPixel);
constexpr int64_t kPiece = 64;        // pixels, channels last, that all panels of a stripe are copied from
constexpr int64_t kTogether = 4;      // panels of input channels: 512 pixels take 256 KiB
constexpr int64_t kMostBlocks = 256;  // of a slot: 256 blocks in a chain err about as much as 256 terms
constexpr int64_t kTasks = 32;        // enough to keep 8 cores busy, where slots can make them
constexpr size_t kPartialBytes = size_t{32} << 20;  // sums of all slots, where that is enough

struct Split {
  Panels panels;  // of input channels
  int64_t blocks, slots, blocks_per_slot;
  int64_t together, stripes, channels, chunks, tasks;  // panels of a stripe, output channels of a chunk

  Split(const Problem& p, Target t) : panels(p.ci, t.kernels), blocks(ceil_div(p.pixels(), kSumBlock)) {
    const int64_t room = int64_t(kPartialBytes / (floats(p) * sizeof(float)));
    slots = std::min(ceil_div(kTasks, p.groups * panels.count()), std::max<int64_t>(room, 1));
    slots = std::clamp<int64_t>(std::max(slots, ceil_div(blocks, kMostBlocks)), 1, std::max<int64_t>(blocks, 1));
    blocks_per_slot = ceil_div(blocks, slots);
    slots = std::max<int64_t>(1, ceil_div(blocks, std::max<int64_t>(blocks_per_slot, 1)));
    // Each stripe reads the gradient once more, each chunk lays the input out once more.
    const int64_t wanted = ceil_div(4 * t.threads, slots * p.groups);
    together = std::clamp<int64_t>(panels.count() / wanted, 1, kTogether);
    stripes = ceil_div(panels.count(), together);
    chunks = std::clamp<int64_t>(wanted / (2 * stripes), 1, ceil_div(p.co, 4 * panels.rows(t.kernels)));
    channels = ceil_div(p.co, chunks);
    chunks = ceil_div(p.co, channels);
    tasks = blocks > 0 ? p.groups * slots * stripes * chunks : 0;
  }
  int64_t row() const { return panels.size(1); }
  int64_t floats(const Problem& p) const { return p.groups * p.co * row(); }  // of one slot
};

struct Worker {
  float *x, *grad;
  const float** rows;
  size_t bytes;
  Worker(const Split& s, const Kernels& k, char* at) {
    char* const base = at;
    take(at, x, kSumBlock * s.together * s.panels.width);
    take(at, grad, std::max(kGradRow * s.panels.rows(k), kSumBlock * kGradPixel));
    take(at, rows, std::max<int64_t>(kSumBlock, s.panels.rows(k)));
    bytes = size_t(at - base);
  }
};

class Nest {
 public:
  explicit Nest(const WeightGradientRun& run)
      : p_(run.problem),
        m_(run.memory),
        k_(run.target.kernels),
        view_(run.view),
        dw_(run.dw + run.view.offset),
        split_(p_, run.target),
        x_(p_, strides_of_reads(p_, m_.xs)),
        y_(p_, m_.ys),
        in_place_(split_.slots == 1 && split_.row() == p_.ci && view_.ci == 1),
        partials_(reinterpret_cast<float*>(run.workspace)),
        workers_(run.workspace + partial_bytes(p_, split_)),
        each_(Worker(split_, k_, nullptr).bytes) {}

  static size_t partial_bytes(const Problem& p, const Split& s) {
    return align64(size_t(s.slots * s.floats(p)) * sizeof(float));
  }

  int64_t tasks() const { return split_.tasks; }

  void task(int64_t task, int worker) const {
    const auto [above, stripe] = split(task, split_.stripes);
    const auto [rest, chunk] = split(above, split_.chunks);
    const auto [group, slot] = split(rest, split_.slots);
    const Worker w(split_, k_, workers_ + worker * each_);
    const bool by_pixel = m_.ys.c == 1;
    for (int64_t i = 0; i < (by_pixel ? kSumBlock : split_.panels.rows(k_)); ++i)
      w.rows[i] = w.grad + i * (by_pixel ? kGradPixel : kGradRow);
    const int64_t first = slot * split_.blocks_per_slot, end = std::min(first + split_.blocks_per_slot, split_.blocks);
    for (int64_t b = first; b < end; ++b) block({group, slot, stripe, chunk, b, b > first}, w);
  }

  bool in_place() const { return in_place_ && split_.blocks > 0; }

  // dw of one (group, output channel): the slots in order.
  void add_slots(int64_t task) const {
    const auto [group, co] = split(task, p_.co);
    float* to = dw_ + group * view_.group + co * view_.co;
    for (int64_t first = 0; first < p_.ci; first += kPiece) {
      const int64_t count = std::min(kPiece, p_.ci - first);
      double sums[kPiece] = {};
      for (int64_t s = 0; s < split_.slots && split_.blocks > 0; ++s) {
        const float* from = partial(s, group, co) + first;
        for (int64_t i = 0; i < count; ++i) sums[i] += double(from[i]);
      }
      for (int64_t i = 0; i < count; ++i) to[(first + i) * view_.ci] = float(sums[i]);
    }
  }

 private:
  struct Block {
    int64_t group, slot, stripe, chunk, id;
    bool add;
  };

  float* partial(int64_t slot, int64_t group, int64_t co) const {
    return partials_ + slot * split_.floats(p_) + (group * p_.co + co) * split_.row();
  }

  void block(const Block& b, const Worker& w) const {
    const int64_t first = b.id * kSumBlock, pixels = std::min(kSumBlock, p_.pixels() - first);
    const int64_t j0 = b.stripe * split_.together, j1 = std::min(j0 + split_.together, split_.panels.count());
    const int64_t piece = m_.xs.c == 1 ? kPiece : kSumBlock;
    for (int64_t i = 0; i < pixels; i += piece)
      for (int64_t j = j0; j < j1; ++j)
        lay_out(b.group, j, first + i, std::min(piece, pixels - i), x_panel(w, j - j0) + i * split_.panels.lanes_of(j));
    const int64_t begin = b.chunk * split_.channels, end = std::min(begin + split_.channels, p_.co);
    const float* grad = m_.y + b.group * p_.co * m_.ys.c;
    const Cuts tiles(end - begin, split_.panels.rows(k_));
    const bool by_pixel = m_.ys.c == 1;  // a pixel's gradients lie side by side
    const int64_t copies = by_pixel ? kGradTiles : 1;
    for (int64_t t = 0, co = begin, copied = begin; t < tiles.count; co += tiles.size(t++)) {
      const int64_t rows = tiles.size(t);
      if (t % copies == 0) {
        copied = co;
        copy(grad + co * m_.ys.c, std::min(copies * rows, end - co), first, pixels, by_pixel, w.grad);
      }
      for (int64_t j = j0; j < j1; ++j) {
        const int64_t at = j * split_.panels.width;
        const int vectors = split_.panels.vectors(j);
        float* c = in_place_ ? dw_ + b.group * view_.group + co * view_.co + at : partial(b.slot, b.group, co) + at;
        const int64_t c_row = in_place_ ? view_.co : split_.row();
        if (by_pixel) {
          k_.outer[vectors][rows]({w.rows, co - copied, pixels, x_panel(w, j - j0), c, b.add, c_row});
          continue;
        }
        TileArgs args{};
        args.rows = w.rows;
        args.segment_length = args.count = pixels;
        args.b = x_panel(w, j - j0);
        args.c = c;
        args.c_row = c_row;
        args.add = b.add;
        k_.tile[vectors][rows](args);
      }
    }
  }

  float* x_panel(const Worker& w, int64_t i) const { return w.x + i * kSumBlock * split_.panels.width; }

  // Panel j of the input of so many pixels as [pixel][lanes].
  void lay_out(int64_t group, int64_t j, int64_t first, int64_t pixels, float* to) const {
    const int64_t lanes = split_.panels.lanes_of(j), used = split_.panels.used(j);
    const float* x = m_.x + (group * p_.ci + j * split_.panels.width) * m_.xs.c;
    if (used < lanes) std::fill_n(to, pixels * lanes, 0.0f);
    for (int64_t i = 0, count; i < pixels; i += count, to += count * lanes) {
      count = std::min(pixels - i, x_.left(first + i));
      k_.pack({x + x_.offset(first + i), m_.xs.c, x_.step, used, count, &to, 1, lanes});
    }
  }

  // The gradient of so many channels, rows or pixels side by side: read where they are, they would be as many pages,
  // and of some sizes share a few sets of L1.
  void copy(const float* grad, int64_t channels, int64_t first, int64_t pixels, bool by_pixel, float* to) const {
    for (int64_t i = 0, count; i < pixels; i += count, to += by_pixel ? count * kGradPixel : count) {
      count = std::min(pixels - i, y_.left(first + i));
      const float* from = grad + y_.offset(first + i);
      k_.pack(by_pixel ? PackArgs{from, 1, y_.step, channels, count, &to, 1, kGradPixel}
                       : PackArgs{from, y_.step, m_.ys.c, count, channels, &to, 1, kGradRow});
    }
  }

  const Problem& p_;
  const Operands& m_;
  const Kernels& k_;
  const WeightView& view_;
  float* dw_;
  Split split_;
  Pixels x_, y_;
  bool in_place_;
  float* partials_;
  char* workers_;
  size_t each_;
};

std::string decline(const Problem& p) { return kPointwise.decline(p, {}); }

size_t workspace(const Problem& p, Target t) {
  const Split s(p, t);
  return Nest::partial_bytes(p, s) + t.threads * Worker(s, t.kernels, nullptr).bytes;
}

// Copies as in im2win; those of the gradient for every four panels. A cycle for a term of what slots add up to.
double cost(const Problem& p, Target t) {
  const Split split(p, t);
  const Panels& panels = split.panels;
  const double pixels = double(p.pixels()) * double(p.groups), out = double(p.co);
  const double sums = 2.2 * pixels * out * double(panels.size(1)) / t.kernels.peak;
  return (sums + pixels * (0.4 * double(p.ci) + 0.1 * out * double(ceil_div(panels.count(), kTogether))) +
          (split.slots > 1 ? double(split.slots * split.floats(p)) : 0)) /
         t.threads;
}

void run(const WeightGradientRun& r) {
  const Nest nest(r);
  const Problem& p = r.problem;
  parallel_for(nest.tasks(), r.target.threads, [&](int64_t task, int worker) { nest.task(task, worker); });
  if (nest.in_place()) return;
  parallel_for(p.groups * p.co, r.target.threads, [&](int64_t task, int) { nest.add_slots(task); });
}

}  // namespace

const WeightGradient kPointwiseGradWeight = {decline, workspace, cost, run};

}  // namespace omniconv::conv
