// conv/depthwise.cpp -- groups of one or of few channels, channels last: lanes are output channels
//
// Tiles go down the axis whose taps come one after the other in a sum: the height, or the width for kernels one row
// high. They read vectors of x through pointers to its rows. Where x is not aligned to vectors they would take twice as
// long, so the input under a block of output rows is then copied to a strip that stays in L2, borders written out:
// whole rows with all their channels, a stream that the processor fetches ahead. A sequence, one row of pixels, is
// worked on as a column of them: its taps then lie one below the other, and no strip has to hold all of it.
#include <algorithm>
#include <numeric>

#include "conv/im2win_rows.hpp"
#include "conv/planar.hpp"
#include "core/thread_pool.hpp"

namespace omniconv::conv {
namespace {

constexpr int64_t kLine = 16;                  // floats
constexpr int64_t kFewChannels = 32;           // a strip is cut into no fewer
constexpr size_t kBudget = size_t{384} << 10;  // of a strip, to stay in L2
// Of what the tiles of one pixel read. Where L1 would hold a tenth of it, all channels at once are still faster: whole
// rows are streams that the processor fetches ahead (3x3 on 14x14x576, in a ring of three versions: 1.95 ms with
// 20 KiB, 1.58 with 40, 1.41 with no limit).
constexpr size_t kWindowBudget = size_t{128} << 10;
constexpr size_t kSumsBudget = size_t{16} << 10;  // of tiles that wait for their epilogue, to stay in L1
constexpr size_t kLimit = size_t{16} << 20;       // of the smallest strip; beyond, other algorithms serve
constexpr int64_t kTallest = 14;                  // tile
constexpr int64_t kMostLanes = 16;                // of a vector

int64_t align_up(int64_t n, int64_t to) { return ceil_div(n, to) * to; }

// An axis as one window over all that `outputs` outputs read.
Axis window_of(const Axis& a, int64_t outputs) { return {a.in, (outputs - 1) * a.stride + a.window(), 1, 1, 1, a.lo}; }

int64_t channels_in(const Problem& p) { return p.groups * p.ci; }
int64_t channels_out(const Problem& p) { return p.groups * p.co; }
bool is_sequence(const Problem& p) {
  const Axis& h = p.axis[1];
  return h.in == 1 && h.out == 1 && h.taps == 1 && h.lo == 0;
}
Problem upright(Problem p) {
  if (is_sequence(p)) std::swap(p.axis[1], p.axis[2]);
  return p;
}
Operands upright(const Problem& p, Operands m) {
  for (Strides* s : {&m.xs, &m.ys, &m.rs})
    if (is_sequence(p)) std::swap(s->axis[1], s->axis[2]);
  if (is_sequence(p)) m.xs.axis[2] = channels_in(p);  // one pixel across: any stride, so that of dense channels
  return m;
}

bool is_depthwise(const Problem& p) { return p.ci == 1 && p.co == 1; }

// The processor follows some 32 streams: the rows that a tile reads and those that it writes.
int64_t most_outputs(const Problem& p, const Axis& along, const Kernels& k) {
  return is_depthwise(p) ? std::max<int64_t>(k.depthwise.rows[0] / along.stride, 4) : k.group.rows[0];
}
// Columns of outputs in a tile.
int64_t columns_of_tile(const Problem& p, const Kernels& k) { return is_depthwise(p) ? 1 : k.group.columns; }

// The form of a tile of groups: three taps in a row, or one at a time.
int group_form(const Axis& axis) {
  return axis.dilation != 1 || axis.stride > 2 || axis.taps < 3 ? 0 : int(axis.stride);
}

// The form of a tile that loads least.
int taps_form(const Axis& axis, int64_t rows) {
  if (axis.dilation != 1 || axis.stride > 2) return 0;
  const auto loads = [&](int form) {
    const int64_t taps = kDepthwiseTaps[form], whole = axis.taps / taps;
    return whole * ((rows - 1) * (taps == 1 ? 1 : axis.stride) + 2 * taps) + (axis.taps - whole * taps) * (rows + 1);
  };
  int best = 0;
  for (int form = 1; form < kDepthwiseTapForms; ++form)
    if (loads(form) < loads(best)) best = form;
  return best;
}

// How the outputs are cut into blocks of rows, tiles along one axis, and chunks of channels.
struct Cut {
  int along;  // axis of a tile
  Cuts tiles;
  Cuts units;                    // of rows: those of a tile, or single ones
  int64_t chunk, chunks, pixel;  // output channels of a chunk, floats of its pixel of input
  int64_t together, blocks;      // units
  Cut(const Problem& p, Target t)
      : along(p.axis[0].taps == 1 && p.axis[1].taps == 1 ? 2 : 1),
        tiles(p.axis[along].out, most_outputs(p, p.axis[along], t.kernels)),
        units(along == 1 ? tiles : Cuts(p.axis[1].out, 1)) {
    // Whole groups, whole vectors.
    const int64_t channels = channels_out(p), few = std::lcm(p.co, kFewChannels);
    const int64_t lines = ceil_div(channels, few), slices = p.batch * p.axis[0].out;
    const auto set_chunk = [&](int64_t count) {
      chunk = ceil_div(lines, count) * few;
      chunks = ceil_div(channels, chunk);
      chunk = std::min(chunk, channels);
      pixel = align_up(chunk / p.co * p.ci, kLine);
    };
    together = 1;
    set_chunk(1);
    if (const size_t bytes = strip_bytes(p); bytes > kBudget)
      set_chunk(std::min<int64_t>(ceil_div(int64_t(bytes), int64_t(kBudget)), lines));
    const int64_t wanted = 4 * t.threads;
    if (slices * units.count * chunks < wanted)
      set_chunk(std::min(ceil_div(wanted, std::max<int64_t>(slices * units.count, 1)), lines));
    together = std::max<int64_t>(units.count / ceil_div(wanted, std::max<int64_t>(slices * chunks, 1)), 1);
    while (together > 1 && strip_bytes(p) > kBudget) --together;
    blocks = ceil_div(units.count, together);
    together = ceil_div(units.count, blocks);
    blocks = ceil_div(units.count, together);
  }
  int64_t rows() const { return together * units.size(0); }
  int64_t rows_in(const Problem& p) const { return window_of(p.axis[1], rows()).out; }
  // 3 lines modulo 8: rows under each other are then spread over the sets of L1, whatever the channels. Rows of one
  // pixel are short, and the next odd number of lines has to do.
  int64_t line(const Problem& p) const {
    const int64_t pixels = window_of(p.axis[2], p.axis[2].out).out, lines = pixels * pixel / kLine;
    return (pixels == 1 ? lines | 1 : lines + (11 - lines % 8) % 8) * kLine;
  }
  size_t strip_bytes(const Problem& p) const { return size_t(p.axis[0].taps * rows_in(p) * line(p)) * sizeof(float); }
};

// As one group: a panel of one vector of channels after the other.
Problem channels_of_one_group(const Problem& p) {
  Problem q = p;
  q.groups = 1;
  q.co = channels_out(p);
  return q;
}

Kernels narrow_panels(const Kernels& k) {
  Kernels narrow = k;
  narrow.tile_vectors = 1;
  return narrow;
}

struct Memory {
  // Of all workers.
  float* zeros;
  const float** outside;
  int64_t* columns;
  int32_t* picks;
  char* workers;
  int64_t plane_rows;
  size_t shared, each;  // bytes
  struct Worker {
    float *strip, *sums;
    const float** rows;
    WindowRows::Copy<float>* copies;
  };

  Memory(const Problem& p, const Cut& cut, char* at) {
    char* const base = at;
    const Axis& along = p.axis[cut.along];
    plane_rows = (cut.along == 1 ? cut.rows_in(p) : window_of(along, along.out).out) + kBeyond * along.stride;
    take(at, zeros, p.axis[2].in * channels_in(p) + kMostLanes);
    take(at, outside, plane_rows);
    take(at, columns, window_of(p.axis[3 - cut.along], p.axis[3 - cut.along].out).out);
    take(at, picks, p.ci * kMostLanes);
    workers = at;
    shared = size_t(at - base);
    Worker unused;
    each = lay_out(p, cut, nullptr, unused);
  }
  Worker worker(const Problem& p, const Cut& cut, int i) const {
    Worker w;
    lay_out(p, cut, workers + i * each, w);
    return w;
  }

 private:
  static constexpr int64_t kBeyond = 3;       // outputs that a tile may be higher than what it is for
  static constexpr int64_t kMostColumns = 4;  // of a tile
  size_t lay_out(const Problem& p, const Cut& cut, char* at, Worker& w) const {
    char* const base = at;
    take(at, w.strip, cut.strip_bytes(p) / sizeof(float) + kLine);
    take(at, w.sums,
         std::max<size_t>(kSumsBudget / sizeof(float),
                          cut.tiles.size(0) * align_up(cut.chunk, kLine) * (is_depthwise(p) ? 1 : kMostColumns)));
    take(at, w.rows, p.axis[0].taps * plane_rows);
    take(at, w.copies, 1);
    return size_t(at - base);
  }
};

class Nest {
 public:
  explicit Nest(const Run& run)
      : run_(run),
        p_(run.problem),
        m_(run.memory),
        k_(run.target.kernels),
        cut_(p_, run.target),
        along_(p_.axis[cut_.along]),
        across_(p_.axis[3 - cut_.along]),
        line_(cut_.line(p_)),
        plane_(cut_.rows_in(p_) * line_),
        weights_(run.packed + packed_floats_aligned(k_, p_)),
        memory_(p_, cut_, run.workspace),
        form_(is_depthwise(p_) ? taps_form(along_, cut_.tiles.size(0)) : group_form(along_)) {
    plain_ = !m_.bias && !m_.scale && !m_.residual && m_.activation == Activation::none && m_.ys.c == 1;
    const auto whole = [&](int64_t floats) { return floats % k_.lanes == 0; };
    const int64_t in = channels_in(p_);
    in_place_ = cut_.along == 1 && p_.mode == PaddingMode::zeros && m_.xs.c == 1 && m_.xs.axis[2] == in &&
                reinterpret_cast<uintptr_t>(m_.x) % (k_.lanes * sizeof(float)) == 0 && whole(in) && whole(m_.xs.n) &&
                whole(m_.xs.axis[0]) && whole(m_.xs.axis[1]) && (p_.ci == p_.co || whole(p_.co));
    if (in_place_) {
      std::fill_n(memory_.zeros, p_.axis[2].in * in, 0.0f);
      std::fill_n(memory_.outside, memory_.plane_rows, memory_.zeros);
    }
    for (int64_t i = 0; i < window_of(across_, across_.out).out; ++i) {
      const int64_t at = in_place_ ? border(i - across_.lo, across_.in, p_.mode) : i;
      memory_.columns[i] = at < 0 ? kOutsideInput : at * (in_place_ ? in : cut_.along == 1 ? cut_.pixel : line_);
    }
    const Axis& deep = p_.axis[0];
    args_.outside = memory_.outside;
    args_.row_taps = along_.taps;
    args_.plane_taps = deep.taps;
    args_.column_taps = across_.taps;
    args_.row_step = along_.dilation;
    args_.plane_rows = memory_.plane_rows;
    args_.column_step = across_.dilation;
    args_.stride = along_.stride;
    args_.chain = kSumBlock;
    set_group();
    const int64_t window = window_of(along_, cut_.tiles.size(0)).out * across_.taps * deep.taps * k_.lanes;
    vectors_ = std::clamp<int64_t>(int64_t(kWindowBudget / sizeof(float)) / window, 1, ceil_div(cut_.chunk, k_.lanes));
    const int64_t wide = columns_of_tile(p_, k_), of_tile = cut_.tiles.size(0) * vectors_ * k_.lanes * wide;
    columns_ = std::max<int64_t>(int64_t(kSumsBudget / sizeof(float)) / of_tile, 1) * wide;
  }

  int64_t tasks() const { return p_.batch * p_.axis[0].out * cut_.blocks * cut_.chunks; }

  void task(int64_t task, int worker) const {
    const Memory::Worker memory = memory_.worker(p_, cut_, worker);
    const int64_t b = task / cut_.chunks, slice = b / cut_.blocks;
    Block block{slice / p_.axis[0].out, slice % p_.axis[0].out, 0, 0, task % cut_.chunks * cut_.chunk, 0};
    block.channels = std::min(cut_.chunk, channels_out(p_) - block.first_channel);
    const int64_t begin = b % cut_.blocks * cut_.together, end = std::min(begin + cut_.together, cut_.units.count);
    block.first = cut_.units.begin(begin);
    block.rows = cut_.units.begin(end) - block.first;
    if (in_place_)
      find_rows(block, memory.rows);
    else
      lay_out(block, memory);
    if (cut_.along == 1)
      for (int64_t t = begin; t < end; ++t)
        tiles(memory, block, cut_.units.begin(t), cut_.units.size(t), p_.axis[2].out);
    else
      for (int64_t t = 0; t < cut_.tiles.count; ++t)
        tiles(memory, block, cut_.tiles.begin(t), cut_.tiles.size(t), block.rows);
  }

 private:
  struct Block {
    int64_t n, od, first, rows, first_channel, channels;
  };

  // Vectors of whole groups, or groups of whole vectors.
  void set_group() {
    picks_ = p_.co < k_.lanes;
    group_.ci = p_.ci;
    group_.picks = memory_.picks;
    group_.group_vectors = picks_ ? 1 : p_.co / k_.lanes;
    group_.x_step = picks_ ? k_.lanes / p_.co * p_.ci : p_.ci;
    group_.stride_across = across_.stride;
    for (int64_t c = 0; picks_ && c < p_.ci; ++c)
      for (int64_t lane = 0; lane < k_.lanes; ++lane)
        memory_.picks[c * k_.lanes + lane] = int32_t(lane / p_.co * p_.ci + c);
  }

  void find_rows(const Block& b, const float** rows) const {
    const Axis &deep = p_.axis[0], &high = p_.axis[1];
    const int64_t rows_in = window_of(high, b.rows).out;
    for (int64_t kd = 0; kd < deep.taps; ++kd, rows += memory_.plane_rows) {
      const int64_t d = border(b.od * deep.stride + kd * deep.dilation - deep.lo, deep.in, p_.mode);
      const float* x = m_.x + b.n * m_.xs.n + d * m_.xs.axis[0] + b.first_channel / p_.co * p_.ci;
      for (int64_t r = 0; r < memory_.plane_rows; ++r) {
        const int64_t h = border(b.first * high.stride + r - high.lo, high.in, p_.mode);
        rows[r] = d < 0 || h < 0 || r >= rows_in ? memory_.zeros : x + h * m_.xs.axis[1];
      }
    }
  }

  void lay_out(const Block& b, const Memory::Worker& memory) const {
    Problem q = p_;
    q.groups = 1;
    q.ci = b.channels / p_.co * p_.ci;
    for (int i = 0; i < kAxes; ++i) q.axis[i] = window_of(p_.axis[i], p_.axis[i].out);
    const Axis &deep = p_.axis[0], &high = p_.axis[1];
    const int64_t rows_in = window_of(high, b.rows).out, step = cut_.along == 1 ? line_ : cut_.pixel;
    const int64_t places = cut_.along == 1 ? rows_in : q.axis[2].out;
    Operands from = m_;
    from.x += b.first_channel / p_.co * p_.ci * m_.xs.c;
    const bool column = cut_.along == 1 && p_.axis[2].in == 1 && q.axis[2].out == 1;
    if (column) {  // pixels one below the other are copied as a row
      std::swap(q.axis[1], q.axis[2]);
      std::swap(from.xs.axis[1], from.xs.axis[2]);
    }
    WindowRows strip(q, false);
    strip.column_stride = column ? line_ : cut_.pixel;
    const int64_t first = b.first * high.stride, copies = column ? 1 : rows_in;
    for (int64_t kd = 0; kd < deep.taps; ++kd) {
      const int64_t plane = b.n * q.axis[0].out + b.od * deep.stride + kd * deep.dilation;
      const int64_t row = plane * q.axis[1].out + (column ? 0 : first);
      float* to = memory.strip + kd * plane_;
      for (int64_t r = 0; r < copies; ++r)
        strip.lay_out<float>({k_.pack, to + r * line_, memory.copies}, from, 0, row + r, 1, column ? first : 0,
                             column ? rows_in : q.axis[2].out);
      for (int64_t i = 0; i < memory_.plane_rows; ++i)
        memory.rows[kd * memory_.plane_rows + i] = to + (i < places ? i * step : 0);
    }
  }

  // The tiles of `outputs` outputs from `first` on, counted along the axis of the tiles, at `width` places across.
  void tiles(const Memory::Worker& memory, const Block& b, int64_t first, int64_t outputs, int64_t width) const {
    const bool down = cut_.along == 1, depthwise = is_depthwise(p_);
    int form = kDepthwiseRowForms - 1;
    while (k_.depthwise.rows[form] < outputs) --form;
    const DepthwiseTile tile = k_.depthwise.tile[form][form_][along_.stride == 2];
    const GroupTile group_tile = k_.group.tile[outputs <= k_.group.rows[1]][picks_][form_];
    const int64_t wide = columns_of_tile(p_, k_);
    GroupArgs group = group_;
    float* const y = m_.y + b.n * m_.ys.n + b.od * m_.ys.axis[0] + first * m_.ys.axis[cut_.along] +
                     (down ? 0 : b.first * m_.ys.axis[1]);
    const int64_t panel = vectors_ * k_.lanes, step = plain_ ? width : std::min(columns_, width);
    const int64_t sums_row = panel * (down ? step : outputs);  // of [row of y][pixel of it][channel]
    DepthwiseArgs args = args_;
    args.outputs = outputs;
    args.c_row = plain_ ? m_.ys.axis[cut_.along] : down ? sums_row : panel;
    const int64_t c_step = plain_ ? m_.ys.axis[3 - cut_.along] : down ? panel : sums_row;
    group.c_across = c_step;
    args.rows = memory.rows + (down ? first - b.first : first) * along_.stride;
    for (int64_t c = 0; c < b.channels; c += panel) {
      const int64_t channel = b.first_channel + c;
      args.x = depthwise ? c : 0;
      group.vector = c / k_.lanes;
      args.lanes = std::min(panel, b.channels - c);
      args.w = weights_ + channel * p_.k();
      for (int64_t done = 0; done < width; done += step) {
        const int64_t some = std::min(step, width - done);
        for (int64_t j = 0; j < some; j += wide) {
          args.columns = memory_.columns + (done + j) * across_.stride;
          args.c = (plain_ ? y + channel : memory.sums) + j * c_step;
          group.outputs_across = some - j;
          depthwise ? tile(args) : group_tile(args, group);
        }
        if (plain_) continue;
        const bool column = down && p_.axis[2].out == 1;  // its outputs follow each other
        const int64_t row = down ? first : b.first + done, pixel = down ? done : first;
        const int64_t count = column ? 1 : down ? outputs : some, pixels = down && !column ? some : outputs;
        const int64_t slice = b.n * p_.axis[0].out + b.od;
        for (int64_t i = 0; i < count; ++i)
          finish_block(k_, p_, m_, (slice * p_.axis[1].out + row + i) * p_.axis[2].out + pixel, pixels, channel,
                       args.lanes, memory.sums + i * sums_row, panel);
      }
    }
  }

  const Run& run_;
  const Problem& p_;
  const Operands& m_;
  const Kernels& k_;
  Cut cut_;
  const Axis &along_, &across_;
  int64_t line_, plane_;
  const float* weights_;
  Memory memory_;
  int form_;
  int64_t vectors_, columns_;  // of tiles that are summed before they are finished
  DepthwiseArgs args_{};
  GroupArgs group_{};
  bool plain_ = false, in_place_ = false, picks_ = false;
};

std::string decline_strip(const Problem& problem, Layout layout) {
  const Problem p = upright(problem);
  if (!layout.channels_contiguous && channels_in(p) > 1) return "the channels of x are not contiguous (NHWC)";
  const Axis &h = p.axis[1], &w = p.axis[2];
  const int64_t channels = std::min(channels_in(p), std::lcm(p.co, kFewChannels) / p.co * p.ci);
  const double bytes = double(p.axis[0].taps * (kTallest * h.stride + h.window())) * double(window_of(w, w.out).out) *
                       double(channels) * sizeof(float);
  if (bytes > double(kLimit)) return "the rows under a tile take " + std::to_string(int64_t(bytes)) + " bytes";
  return "";
}

std::string decline_depthwise(const Problem& p, Layout layout) {
  if (!is_depthwise(p)) return "a group has more than one input or output channel";
  return decline_strip(p, layout);
}

std::string decline_grouped(const Problem& p, Layout layout) {
  if (p.groups == 1) return "there is one group";
  if (is_depthwise(p)) return "a group has one input and one output channel";
  const bool part = p.co < kMostLanes && kMostLanes % p.co == 0;
  if (!part && p.co % kMostLanes != 0)
    return "the output channels of a group neither divide a vector nor are vectors: " + std::to_string(p.co);
  if (part && p.ci > p.co) return "a group has more input than output channels, and fewer than a vector";
  return decline_strip(p, layout);
}

size_t workspace(const Problem& problem, Target t) {
  const Problem p = upright(problem);
  const Memory memory(p, Cut(p, t), nullptr);
  return memory.shared + t.threads * memory.each;
}

// As planar's, with lanes that are channels.
double cost(const Problem& problem, Layout, Target t) {
  const Kernels& k = t.kernels;
  const Problem p = upright(problem);
  const Cut cut(p, t);
  const int64_t wide = columns_of_tile(p, k), across = p.axis[3 - cut.along].out;
  const double vectors = double(ceil_div(channels_out(p), k.lanes));
  const double pixels =
      double(p.pixels()) * double(ceil_div(across, wide) * wide) / double(std::max<int64_t>(across, 1));
  const double strip =
      double(p.batch * p.axis[0].out * cut.blocks * cut.chunks) * double(cut.strip_bytes(p)) / sizeof(float);
  const double sums = double(p.k()) * 2 * k.lanes / k.peak * (is_depthwise(p) ? 1 : 1.25);
  return (pixels * vectors * (sums + 6) + strip * 0.25) / t.threads;
}

// [vector][k][lanes]
size_t extra_floats(const Problem& p, const Kernels& k) {
  return packed_floats(narrow_panels(k), channels_of_one_group(p));
}

void pack_own(const Problem& p, const Kernels& k, const float* weight, const WeightView& view, float* to) {
  const Kernels narrow = narrow_panels(k);
  if (p.co % k.lanes == 0) return pack_weights(narrow, p, weight, view, to);
  const Problem whole = channels_of_one_group(p);
  WeightView v = view;
  if (p.co == 1) v.co = view.group;
  if (p.co == 1 || view.group == p.co * view.co) return pack_weights(narrow, whole, weight, v, to);
  // Channels are not evenly spaced, as in a gradient: each group goes to its lanes of a panel.
  std::fill_n(to, packed_floats(narrow, whole), 0.0f);
  const Axis* axis = p.axis;
  parallel_for(p.groups, [&](int64_t g, int) {
    const int64_t channel = g * p.co;
    float* at = to + channel / k.lanes * k.lanes * p.k() + channel % k.lanes;
    for (int64_t kw = 0; kw < axis[2].taps; ++kw)
      for (int64_t kd = 0; kd < axis[0].taps; ++kd)
        for (int64_t kh = 0; kh < axis[1].taps; ++kh)
          for (int64_t ci = 0; ci < p.ci; ++ci, at += k.lanes) {
            const float* from =
                weight + v.offset + g * v.group + kd * v.tap[0] + kh * v.tap[1] + kw * v.tap[2] + ci * v.ci;
            for (int64_t co = 0; co < p.co; ++co) at[co] = from[co * v.co];
          }
  });
}

void run(const Run& r) {
  const Problem p = upright(r.problem);
  const Operands m = upright(r.problem, r.memory);
  const Run upright_run{p, m, r.packed, r.workspace, r.target};
  const Nest nest(upright_run);
  parallel_for(nest.tasks(), r.target.threads, [&](int64_t task, int worker) { nest.task(task, worker); });
}

}  // namespace

const Algorithm kDepthwise = {
    .name = "depthwise",
    .summary = "one channel per group, lanes are channels",
    .decline = decline_depthwise,
    .workspace = workspace,
    .cost = cost,
    .run = run,
    .extra_floats = extra_floats,
    .pack_own = pack_own,
};

const Algorithm kGrouped = {
    .name = "grouped",
    .summary = "few channels per group, lanes are output channels",
    .decline = decline_grouped,
    .workspace = workspace,
    .cost = cost,
    .run = run,
    .extra_floats = extra_floats,
    .pack_own = pack_own,
};

}  // namespace omniconv::conv
