// conv/depthwise.cpp -- one input and one output channel per group, channels last: lanes are channels
//
// A chunk of channels of a block of rows is copied to a strip where borders are written out: one load and store per
// element beside the k multiply-adds. A tile is 6 pixels x 2 vectors of channels (AVX2), every tap a vector of weights.
#include <algorithm>
#include <cstring>

#include "conv/im2win_rows.hpp"
#include "conv/planar.hpp"
#include "core/thread_pool.hpp"

namespace omniconv::conv {
namespace {

// Channels: two lines of a pixel. With four a tile of two AVX-512 vectors would find its strip in half of the sets of
// L1: 7x7 on 56x56x96 took 0.95 ms instead of 0.71 with one thread of a Skylake server.
constexpr int64_t kChunk = 32;
constexpr size_t kBudget = size_t{128} << 10;  // of a strip
constexpr size_t kLimit = size_t{1} << 21;
constexpr int kVectors = 2;

// All groups as channels of one, over the input of `outputs` rows.
Problem chunk_of(const Problem& p, int64_t channels) {
  Problem q = p;
  q.groups = 1;
  q.ci = channels;
  for (int i : {1, 2}) {
    const Axis& a = p.axis[i];
    q.axis[i] = {a.in, (a.out - 1) * a.stride + a.window(), 1, 1, 1, a.lo};
  }
  return q;
}

struct Cut {
  int64_t chunks, rows, blocks;  // output rows together
  explicit Cut(const Problem& p) {
    chunks = ceil_div(p.groups, kChunk);
    const int64_t fit = int64_t(kBudget / line_bytes(p)) - p.axis[1].window();
    rows = std::clamp<int64_t>(fit / p.axis[1].stride + 1, 1, p.axis[1].out);
    rows = ceil_div(p.axis[1].out, ceil_div(p.axis[1].out, rows));
    blocks = ceil_div(p.axis[1].out, rows);
  }
  static int64_t line_bytes(const Problem& p) {
    return ((p.axis[2].out - 1) * p.axis[2].stride + p.axis[2].window()) * p.axis[0].taps * std::min(kChunk, p.groups) *
           int64_t(sizeof(float));
  }
};

struct Memory {
  float *strip, *sums;
  int64_t* offsets;
  WindowRows::Copy<float>* copies;
  size_t bytes;
  Memory(const Problem& p, const Kernels& k, char* at) {
    const Cut cut(p);
    const Problem q = chunk_of(p, std::min(kChunk, p.groups));
    const WindowRows strips(q, false);
    const int64_t rows_in = (cut.rows - 1) * p.axis[1].stride + p.axis[1].window();
    char* const base = at;
    take(at, strip, rows_in * strips.row_floats(q.axis[2].out) + kVectors * k.lanes);
    take(at, sums, cut.rows * p.axis[2].out * kVectors * k.lanes);
    take(at, offsets, p.k());
    char* scratch;
    take(at, scratch, strips.copy_bytes(rows_in));
    copies = reinterpret_cast<WindowRows::Copy<float>*>(scratch);
    bytes = size_t(at - base);
  }
};

int64_t padded_channels(const Problem& p, const Kernels& k) { return (ceil_div(p.groups, k.lanes) + 1) * k.lanes; }

class Nest {
 public:
  explicit Nest(const Run& run)
      : run_(run),
        p_(run.problem),
        m_(run.memory),
        k_(run.target.kernels),
        cut_(p_),
        weights_(run.packed + packed_floats_aligned(k_, p_)),
        bytes_(Memory(p_, k_, nullptr).bytes) {
    plain_ = !m_.bias && !m_.scale && !m_.residual && m_.activation == Activation::none && m_.ys.c == 1;
  }

  int64_t tasks() const { return p_.batch * p_.axis[0].out * cut_.blocks * cut_.chunks; }

  void task(int64_t task, int worker) const {
    const Memory memory(p_, k_, run_.workspace + worker * bytes_);
    const int64_t first_channel = task % cut_.chunks * kChunk, b = task / cut_.chunks;
    const int64_t channels = std::min(kChunk, p_.groups - first_channel);
    const int64_t first = b % cut_.blocks * cut_.rows, slice = b / cut_.blocks;
    const int64_t outputs = std::min(cut_.rows, p_.axis[1].out - first);
    const Problem q = chunk_of(p_, channels);
    const WindowRows strips(q, false);
    const int64_t line = strips.row_floats(q.axis[2].out),
                  rows_in = (outputs - 1) * p_.axis[1].stride + p_.axis[1].window();
    Operands from = m_;
    from.x += first_channel * m_.xs.c;
    strips.lay_out<float>({k_.pack, memory.strip, memory.copies}, from, 0,
                          slice * q.axis[1].out + first * p_.axis[1].stride, rows_in, 0, q.axis[2].out);
    set_offsets(line, strips.column_stride, channels, memory.offsets);
    tiles(memory, {slice, first, outputs, first_channel, channels}, line, strips.column_stride);
  }

 private:
  void set_offsets(int64_t line, int64_t column, int64_t channels, int64_t* to) const {
    const Axis &d = p_.axis[0], &h = p_.axis[1], &w = p_.axis[2];
    for (int64_t kw = 0; kw < w.taps; ++kw)
      for (int64_t kd = 0; kd < d.taps; ++kd)
        for (int64_t kh = 0; kh < h.taps; ++kh)
          *to++ = kh * h.dilation * line + kw * w.dilation * column + kd * channels;
  }

  struct Place {
    int64_t slice, first, outputs, first_channel, channels;
  };

  // Down the rows before across: a tile finds most of its input in L1, where the one above has left it.
  void tiles(const Memory& memory, const Place& at, int64_t line, int64_t column) const {
    const int64_t width = p_.axis[2].out, n = at.slice / p_.axis[0].out, od = at.slice % p_.axis[0].out;
    float* const y = m_.y + n * m_.ys.n + od * m_.ys.axis[0] + at.first * m_.ys.axis[1];
    PlanarArgs args{};
    args.offsets = memory.offsets;
    args.x_row = p_.axis[2].stride * column;
    args.w_term = padded_channels(p_, k_);
    args.c_row = plain_ ? m_.ys.axis[2] : kVectors * k_.lanes;
    const int64_t c_line = plain_ ? m_.ys.axis[1] : width * args.c_row;
    const Cuts vectors(ceil_div(at.channels, k_.lanes), kVectors);
    for (int64_t i = 0, c = 0; i < vectors.count; c += vectors.size(i++) * k_.lanes) {
      const int64_t v = vectors.size(i), channel = at.first_channel + c;
      args.lanes = int(std::min(v * k_.lanes, at.channels - c));
      args.w = weights_ + channel;
      float* const to = plain_ ? y + channel : memory.sums;
      const Cuts across(width, k_.planar.rows[v]);
      for (int64_t t = 0, w = 0; t < across.count; w += across.size(t++))
        for (int64_t r = 0; r < at.outputs; ++r) {
          args.x = memory.strip + r * p_.axis[1].stride * line + w * args.x_row + c;
          args.c = to + r * c_line + w * args.c_row;
          planar_sums(k_, PlanarMode::lanes_are_channels, args, p_.k(), v, across.size(t));
        }
      const int64_t pixel = (at.slice * p_.axis[1].out + at.first) * width;
      if (!plain_) finish_block(k_, p_, m_, pixel, at.outputs * width, channel, args.lanes, to, args.c_row);
    }
  }

  const Run& run_;
  const Problem& p_;
  const Operands& m_;
  const Kernels& k_;
  Cut cut_;
  const float* weights_;
  size_t bytes_;
  bool plain_ = false;
};

std::string decline(const Problem& p, Layout layout) {
  if (p.ci != 1 || p.co != 1) return "a group has more than one input or output channel";
  if (!layout.channels_contiguous && p.groups > 1) return "the channels of x are not contiguous (NHWC)";
  const double bytes = double(Cut::line_bytes(p)) * double(p.axis[1].window());
  if (bytes > double(kLimit))
    return "the rows under one row of output take " + std::to_string(int64_t(bytes)) + " bytes";
  return "";
}

size_t workspace(const Problem& p, Target t) { return t.threads * Memory(p, t.kernels, nullptr).bytes; }

// As planar's, with lanes that are channels.
double cost(const Problem& p, Layout, Target t) {
  const Kernels& k = t.kernels;
  const Cut cut(p);
  const double pixels = double(p.pixels()), vectors = double(ceil_div(p.groups, k.lanes));
  const double rows_in = double((cut.rows - 1) * p.axis[1].stride + p.axis[1].window()) / double(cut.rows);
  const double strip = double(p.rows()) * rows_in * double(Cut::line_bytes(p)) / sizeof(float) * double(cut.chunks);
  return (pixels * vectors * (double(p.k()) * 2 * k.lanes / k.peak + 6) + strip * 0.25) / t.threads;
}

// [k][channels]
size_t extra_floats(const Problem& p, const Kernels& k) { return size_t(p.k()) * padded_channels(p, k); }

void pack_extra(const Problem& p, const Kernels& k, const float* packed, float* extra) {
  const Panels panels(p.co, k);
  const int64_t channels = padded_channels(p, k);
  std::fill_n(extra, extra_floats(p, k), 0.0f);
  for (int64_t g = 0; g < p.groups; ++g)
    for (int64_t i = 0; i < p.k(); ++i)
      extra[i * channels + g] = packed[g * panels.size(p.k()) + i * panels.lanes_of(0)];
}

void run(const Run& r) {
  const Nest nest(r);
  parallel_for(nest.tasks(), r.target.threads, [&](int64_t task, int worker) { nest.task(task, worker); });
}

}  // namespace

const Algorithm kDepthwise = {
    "depthwise", "one channel per group, lanes are channels", decline, workspace, cost, run, extra_floats, pack_extra};

}  // namespace omniconv::conv
