// conv/pointwise.cpp -- kernels of one tap: the product of two matrices, the pixels of all images in one row
//
// x [channels][pixels] (NCHW): lanes are pixels. Those of a panel are copied from every channel's row, one below the
// other, and meet the weights of a few output channels: nothing is transposed, neither on the way in nor out.
// x [pixels][channels] (NHWC): lanes are output channels; the tiles read x where it is.
// Either way a block of pixels stays in L2 while all weights pass by, and a tile is finished as soon as it is summed,
// for its sums are in L1 then; where they are the result, the tile stores them to y itself.
#include "conv/pixels.hpp"
#include "conv/planar.hpp"
#include "core/thread_pool.hpp"

namespace omniconv::conv {
namespace {

constexpr size_t kBudget = size_t{384} << 10;  // of x for a block: the weights pass through the rest of L2
constexpr size_t kLimit = size_t{16} << 20;    // of a panel of pixels; beyond, other algorithms serve
constexpr int64_t kMostPixels = 384;           // of a block: more would read the weights no less often
constexpr int64_t kWeightsAtHand = 64 << 10;   // floats: a quarter of the L2 cache
constexpr int64_t kTileFloats = kMaxPlanarRows * kMaxPlanarVectors * 16;

// Tasks: blocks of pixels, of channels where pixels are few.
struct Blocks {
  int64_t pixels, panels;  // of a block
  int64_t count, chunks, tasks;

  // Blocks are whole `unit`s of pixels, but for the last.
  Blocks(const Problem& p, const Panels& all, int threads, int64_t unit) {
    const int64_t bytes = unit * p.ci * int64_t(sizeof(float)),
                  units = std::max<int64_t>(ceil_div(p.pixels(), unit), 1);
    const int64_t fit = std::clamp<int64_t>(int64_t(kBudget) / bytes, 1, kMostPixels / unit);
    count = ceil_div(units, fit);
    // A few blocks are dealt out evenly; many need not be.
    if (threads > 1 && count * p.groups < 8 * threads)
      count = std::min(units, ceil_div(ceil_div(count * p.groups, threads) * threads, p.groups));
    pixels = ceil_div(units, count) * unit;
    count = std::max<int64_t>(ceil_div(p.pixels(), pixels), 1);
    const int64_t blocks = count * p.groups;
    chunks = blocks < 2 * threads && threads > 1 ? std::min(all.count(), ceil_div(4 * threads, blocks)) : 1;
    panels = ceil_div(all.count(), chunks);
    chunks = ceil_div(all.count(), panels);
    tasks = blocks * chunks;
  }
};

int64_t planar_unit(const Kernels& k) { return int64_t{kMaxPlanarVectors} * k.lanes; }

// ---- what both ways share ------------------------------------------------------------------------------------------

class Nest {
 public:
  struct Block {
    int64_t id, group, first, pixels, first_panel, end_panel;
  };

  Nest(const Run& r, int64_t unit)
      : run_(r),
        p_(r.problem),
        m_(r.memory),
        k_(r.target.kernels),
        panels_(p_.co, k_),
        blocks_(p_, panels_, r.target.threads, unit),
        x_(p_, strides_of_reads(p_, m_.xs)),
        y_(p_, m_.ys),
        residual_(p_, m_.rs),
        sums_only_(!m_.bias && !m_.scale && !m_.residual && m_.activation == Activation::none) {}

  int64_t tasks() const { return blocks_.tasks; }

 protected:
  Block block(int64_t task) const {
    const auto [id, chunk] = split(task, blocks_.chunks);
    const int64_t first = id % blocks_.count * blocks_.pixels, panel = chunk * blocks_.panels;
    return {id,    id / blocks_.count,
            first, std::min(blocks_.pixels, p_.pixels() - first),
            panel, std::min(panel + blocks_.panels, panels_.count())};
  }
  const float* panel(const Block& b, int64_t j) const {
    return run_.packed + (b.group * panels_.size(1) + j * panels_.width) * p_.ci;
  }
  int64_t channel(const Block& b, int64_t j) const { return b.group * p_.co + j * panels_.width; }

  // body(done, count) for the runs of consecutive pixels that are evenly spaced in y and residual.
  template <class Body>
  void each_run(int64_t first, int64_t pixels, Body&& body) const {
    for (int64_t done = 0, count; done < pixels; done += count) {
      count = std::min(pixels - done, y_.left(first + done));
      if (m_.residual) count = std::min(count, residual_.left(first + done));
      body(done, count);
    }
  }

  const Run& run_;
  const Problem& p_;
  const Operands& m_;
  const Kernels& k_;
  Panels panels_;
  Blocks blocks_;
  Pixels x_, y_, residual_;
  bool sums_only_;
};

// ---- lanes are pixels ----------------------------------------------------------------------------------------------

class PlaneNest : public Nest {
 public:
  struct Worker {
    int64_t* block;  // whose pixels are there, or -1
    float *x, *sums;
  };

  explicit PlaneNest(const Run& r) : Nest(r, planar_unit(r.target.kernels)) {
    char* at = r.workspace;
    take(at, offsets_, p_.ci);
    for (int64_t c = 0; c < p_.ci; ++c) offsets_[c] = c * unit();
    each_ = worker(nullptr, nullptr);
    workers_ = at;
    for (int t = 0; t < r.target.threads; ++t) {
      Worker w;
      worker(workers_ + t * each_, &w);
      *w.block = -1;
    }
  }

  static size_t workspace(const Problem& p, Target t) {
    return align64(p.ci * sizeof(int64_t)) +
           t.threads * worker_bytes(p, Blocks(p, Panels(p.co, t.kernels), t.threads, planar_unit(t.kernels)));
  }

  void task(int64_t task, int index) const {
    const Block b = block(task);
    Worker w;
    worker(workers_ + index * each_, &w);
    if (*w.block != b.id) copy(b, w.x);
    *w.block = b.id;
    const int64_t columns = ceil_div(b.pixels, unit());
    for (int64_t j = b.first_panel; j < b.end_panel; ++j)
      for (int64_t v = kMaxPlanarVectors, q = 0; q < columns;) {
        // Panels of one width together: the same tiles of channels serve them.
        const int64_t whole = b.pixels / unit();
        const int64_t end = q < whole ? whole : columns;
        if (q == whole) v = ceil_div(b.pixels - q * unit(), k_.lanes);
        const Cuts tiles(panels_.used(j), k_.planar.rows[v]);
        for (int64_t t = 0, lane = 0; t < tiles.count; lane += tiles.size(t++))
          for (int64_t i = q; i < end; ++i) tile(b, j, lane, tiles.size(t), i, v, w);
        q = end;
      }
  }

 private:
  int64_t unit() const { return planar_unit(k_); }

  static size_t worker_bytes(const Problem& p, const Blocks& blocks, char* base = nullptr, Worker* out = nullptr) {
    Worker w;
    char* at = base;
    take(at, w.block, 1);
    take(at, w.x, blocks.pixels * p.ci);
    take(at, w.sums, kTileFloats);
    if (out) *out = w;
    return size_t(at - base);
  }
  size_t worker(char* base, Worker* out) const { return worker_bytes(p_, blocks_, base, out); }

  // Panels [panel][channel][unit], the last vector of the last one filled with zeros.
  void copy(const Block& b, float* to) const {
    const float* x = m_.x + b.group * p_.ci * m_.xs.c;
    for (int64_t done = 0; done < b.pixels; done += unit(), to += unit() * p_.ci) {
      const int64_t pixels = std::min(unit(), b.pixels - done), first = b.first + done;
      for (int64_t i = 0, count; i < pixels; i += count) {
        count = std::min(pixels - i, x_.left(first + i));
        float* dst = to + i;
        k_.pack({x + x_.offset(first + i), x_.step, m_.xs.c, count, p_.ci, &dst, 1, unit()});
      }
      const int64_t padded = ceil_div(pixels, k_.lanes) * k_.lanes;
      for (int64_t c = 0; pixels < padded && c < p_.ci; ++c)
        std::fill(to + c * unit() + pixels, to + c * unit() + padded, 0.0f);
    }
  }

  // Channels [lane, lane + channels) of panel j, panel q of pixels.
  void tile(const Block& b, int64_t j, int64_t lane, int64_t channels, int64_t q, int64_t vectors,
            const Worker& w) const {
    const int64_t first = b.first + q * unit(), pixels = std::min(unit(), b.pixels - q * unit());
    const int64_t c = channel(b, j) + lane;
    const bool in_place = sums_only_ && y_.step == 1 && y_.left(first) >= pixels;
    PlanarArgs args{};
    args.x = w.x + q * unit() * p_.ci;
    args.offsets = offsets_;
    args.w = panel(b, j) + lane;
    args.w_term = panels_.lanes_of(j);
    args.lanes = int(pixels);
    args.c = in_place ? m_.y + y_.offset(first) + c * m_.ys.c : w.sums;
    args.c_row = in_place ? m_.ys.c : unit();
    planar_sums(k_, PlanarMode::rows_are_channels, args, p_.ci, vectors, channels);
    if (!in_place) finish(first, pixels, c, channels, w.sums);
  }

  void finish(int64_t first, int64_t pixels, int64_t c, int64_t channels, const float* sums) const {
    PlanarFinishArgs f{};
    f.c_row = unit();
    f.rows = channels;
    f.y_row = m_.ys.c;
    f.y_pixel = y_.step;
    f.r_row = m_.rs.c;
    f.r_pixel = residual_.step;
    f.bias = m_.bias ? m_.bias + c : nullptr;
    f.scale = m_.scale ? m_.scale + c : nullptr;
    f.channel_step = 1;
    f.activation = m_.activation;
    f.negative_slope = m_.negative_slope;
    each_run(first, pixels, [&](int64_t done, int64_t count) {
      f.c = sums + done;
      f.pixels = count;
      f.y = m_.y + y_.offset(first + done) + c * m_.ys.c;
      if (m_.residual) f.residual = m_.residual + residual_.offset(first + done) + c * m_.rs.c;
      k_.planar.finish(f);
    });
  }

  int64_t* offsets_;
  char* workers_;
  size_t each_;
};

// ---- lanes are channels --------------------------------------------------------------------------------------------

class RowNest : public Nest {
 public:
  struct Worker {
    const float** rows;
    float* sums;
  };

  explicit RowNest(const Run& r) : Nest(r, Panels(r.problem.co, r.target.kernels).rows(r.target.kernels)) {
    each_ = worker_bytes(k_, blocks_);
  }

  static size_t workspace(const Problem& p, Target t) {
    const Panels panels(p.co, t.kernels);
    return t.threads * worker_bytes(t.kernels, Blocks(p, panels, t.threads, panels.rows(t.kernels)));
  }

  void task(int64_t task, int index) const {
    const Block b = block(task);
    Worker w;
    worker_bytes(k_, blocks_, run_.workspace + index * each_, &w);
    const float* x = m_.x + b.group * p_.ci * m_.xs.c;
    for (int64_t i = 0, count; i < b.pixels; i += count) {
      count = std::min(b.pixels - i, x_.left(b.first + i));
      const float* at = x + x_.offset(b.first + i);
      for (int64_t n = 0; n < count; ++n, at += x_.step) w.rows[i + n] = at;
    }
    const Cuts tiles(b.pixels, panels_.rows(k_));
    // Panels of weights that stay in L2 together meet a tile one after the other: y is written in rows, not in stripes
    // of 128 bytes.
    const int64_t fit = kWeightsAtHand / (panels_.width * p_.ci), together = std::max<int64_t>(1, fit);
    for (int64_t j = b.first_panel; j < b.end_panel; j += together) {
      const int64_t end = std::min(j + together, b.end_panel);
      for (int64_t t = 0, pixel = 0; t < tiles.count; pixel += tiles.size(t++))
        for (int64_t i = j; i < end; ++i) {
          const int64_t next = i + together;
          tile(b, i, tiles, t, pixel, fit > 0 && next < panels_.count() ? panel(b, next) : nullptr, w);
        }
    }
  }

 private:
  static size_t worker_bytes(const Kernels& k, const Blocks& blocks, char* base = nullptr, Worker* out = nullptr) {
    Worker w;
    char* at = base;
    take(at, w.rows, blocks.pixels);
    take(at, w.sums, int64_t{kMaxTileRows} * k.tile_vectors * k.lanes);
    if (out) *out = w;
    return size_t(at - base);
  }

  // `next`: the panel that comes after this one's tiles, where both fit into L2.
  void tile(const Block& b, int64_t j, const Cuts& tiles, int64_t t, int64_t pixel, const float* next,
            const Worker& w) const {
    const int64_t first = b.first + pixel, pixels = tiles.size(t);
    const int64_t c = channel(b, j), lanes = panels_.lanes_of(j), used = panels_.used(j);
    const bool in_place = sums_only_ && m_.ys.c == 1 && used == lanes && y_.left(first) >= pixels;
    TileArgs args{};
    args.rows = w.rows + pixel;
    args.segment_length = args.count = p_.ci;
    args.sum_block = kSumBlock;
    args.b = panel(b, j);
    args.fetch_later(next, t, tiles.count, lanes);
    args.c = in_place ? m_.y + y_.offset(first) + c : w.sums;
    args.c_row = in_place ? y_.step : lanes;
    if (m_.ys.c == 1) {
      args.touch = m_.y + y_.offset(first) + c;
      args.touch_step = y_.step;
      args.touch_count = pixels;
    }
    k_.tile[lanes / k_.lanes][pixels](args);
    if (!in_place) finish(first, pixels, c, used, lanes, w.sums);
  }

  void finish(int64_t first, int64_t pixels, int64_t c, int64_t channels, int64_t lanes, const float* sums) const {
    FinishArgs f{};
    f.panel = lanes;
    f.channels = channels;
    f.y_pixel = y_.step;
    f.y_channel = m_.ys.c;
    f.r_pixel = residual_.step;
    f.r_channel = m_.rs.c;
    f.bias = m_.bias ? m_.bias + c : nullptr;
    f.scale = m_.scale ? m_.scale + c : nullptr;
    f.activation = m_.activation;
    f.negative_slope = m_.negative_slope;
    each_run(first, pixels, [&](int64_t done, int64_t count) {
      f.c = sums + done * lanes;
      f.pixels = count;
      f.y = m_.y + y_.offset(first + done) + c * m_.ys.c;
      if (m_.residual) f.residual = m_.residual + residual_.offset(first + done) + c * m_.rs.c;
      k_.finish(f);
    });
  }

  size_t each_;
};

// ---- the algorithm -------------------------------------------------------------------------------------------------

std::string decline(const Problem& p, Layout) {
  if (p.taps() > 1) return "the kernel has " + std::to_string(p.taps()) + " taps";
  for (const Axis& a : p.axis)
    if (a.lo != 0 || (a.out - 1) * a.stride >= a.in) return "the input is padded";
  if (double(p.ci) * kMaxPlanarVectors * 16 * sizeof(float) > double(kLimit))
    return std::to_string(p.ci) + " channels of a panel of pixels take more than " + std::to_string(kLimit) + " bytes";
  return "";
}

size_t workspace(const Problem& p, Target t) { return std::max(PlaneNest::workspace(p, t), RowNest::workspace(p, t)); }

double cost(const Problem& p, Layout layout, Target t) {
  const double pixels = double(p.pixels()), in = double(p.groups * p.ci), out = double(p.groups * p.co);
  if (layout.channels_contiguous) return multiply_cycles(p, t) + 0.2 * pixels * out / t.threads;
  // 3 cycles to begin and end a vector of a tile; copies at 8 floats a cycle, a half of that where every second is
  // taken, and one by one beyond.
  const Kernels& k = t.kernels;
  const int64_t stride = p.axis[2].stride;
  const double vectors = std::max(pixels / k.lanes, double(ceil_div(p.pixels(), k.lanes)));
  const double sums = vectors * out * (double(p.ci) * 2.2 * k.lanes / k.peak + 3);
  return (sums + pixels * in * (stride == 1 ? 0.125 : stride == 2 ? 0.25 : 1.0)) / t.threads;
}

template <class N>
void run_nest(const Run& r) {
  const N nest(r);
  parallel_for(nest.tasks(), r.target.threads, [&](int64_t task, int worker) { nest.task(task, worker); });
}

void run(const Run& r) { r.memory.xs.c == 1 ? run_nest<RowNest>(r) : run_nest<PlaneNest>(r); }

}  // namespace

const Algorithm kPointwise = {
    .name = "pointwise",
    .summary = "kernels of one tap: the product of two matrices",
    .decline = decline,
    .workspace = workspace,
    .cost = cost,
    .run = run,
    .grad_weight = &kPointwiseGradWeight,
};

}  // namespace omniconv::conv
