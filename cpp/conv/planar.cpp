// conv/planar.cpp -- convolution of planes: lanes are the pixels of a row, for few channels and for depthwise
//
// For NCHW nothing is transposed, neither on the way in nor out. A block of input rows is copied to a strip where
// borders are written out and columns of one phase (column modulo stride) lie together, so every tap is a shifted row.
// A tile is either several output channels over one row (conv1-like stems), or several rows of one output channel
// (depthwise, where a panel of channels would hold one).
#include "conv/planar.hpp"

#include <algorithm>
#include <cstring>

#include "core/thread_pool.hpp"

namespace omniconv::conv {
namespace {

constexpr size_t kBudget = size_t{48} << 10;  // of a strip: many tasks for few threads, and near L1
constexpr size_t kLimit = size_t{1} << 20;
constexpr int64_t kManyChannels = 4;  // output channels of a group from which on the tile is over channels

// The strip [ci][kd][row][phase][column] under a block of output rows of one image and group.
struct Strip {
  const Problem& p;
  int64_t phase, line;  // floats of a phase of a row, of a row
  int64_t block;        // output rows together

  Strip(const Problem& problem, const Kernels& k) : p(problem) {
    const Axis& w = p.axis[2];
    phase = ceil_div((w.out - 1) * w.stride + w.window(), w.stride);
    line = phase * w.stride;
    const int64_t fit = int64_t(kBudget / (line * p.ci * p.axis[0].taps * sizeof(float))) - p.axis[1].window();
    block = std::clamp<int64_t>(fit / p.axis[1].stride + 1, 1, p.axis[1].out);
    block = ceil_div(p.axis[1].out, ceil_div(p.axis[1].out, block));
    lanes = k.lanes;
  }

  int64_t rows(int64_t outputs) const { return (outputs - 1) * p.axis[1].stride + p.axis[1].window(); }
  // The last tile reads whole vectors.
  int64_t floats() const { return p.ci * p.axis[0].taps * rows(block) * line + kMaxPlanarVectors * lanes; }
  int64_t blocks() const { return ceil_div(p.axis[1].out, block); }

  // Where term k finds the first pixel, k in the order of the packed weights, for strips of `outputs` output rows.
  void offsets(int64_t outputs, int64_t* to) const {
    const Axis &d = p.axis[0], &h = p.axis[1], &w = p.axis[2];
    const int64_t plane = rows(outputs) * line;
    for (int64_t kw = 0; kw < w.taps; ++kw)
      for (int64_t kd = 0; kd < d.taps; ++kd)
        for (int64_t kh = 0; kh < h.taps; ++kh)
          for (int64_t c = 0; c < p.ci; ++c)
            *to++ = (c * d.taps + kd) * plane + kh * h.dilation * line + kw * w.dilation % w.stride * phase +
                    kw * w.dilation / w.stride;
  }

  // `x`: the group's first channel of the image.
  void fill(const Kernels& k, const Operands& m, const float* x, int64_t od, int64_t first, int64_t outputs,
            float* to) const {
    const Axis &d = p.axis[0], &h = p.axis[1], &w = p.axis[2];
    const bool fast = m.xs.axis[2] == 1 && w.stride <= 2 && p.mode == PaddingMode::zeros;
    for (int64_t c = 0; c < p.ci; ++c)
      for (int64_t kd = 0; kd < d.taps; ++kd) {
        const int64_t z = border(od * d.stride + kd * d.dilation - d.lo, d.in, p.mode), y0 = first * h.stride - h.lo;
        const float* plane = x + c * m.xs.c + z * m.xs.axis[0];
        for (int64_t r = 0; r < rows(outputs); to += line) {
          const int64_t y = z < 0 ? -1 : border(y0 + r, h.in, p.mode);
          if (y >= 0 && fast) {  // all rows up to the border at once
            const int64_t count = std::min(rows(outputs) - r, h.in - y);
            k.planar.lines({plane + y * m.xs.axis[1], m.xs.axis[1], w.in, w.lo, w.stride, count, to, phase});
            to += (count - 1) * line;
            r += count;
            continue;
          }
          ++r;
          if (y < 0)
            std::fill_n(to, line, 0.0f);
          else
            fill_line(plane + y * m.xs.axis[1], m.xs.axis[2], to);
        }
      }
  }

 private:
  int64_t lanes;

  // Any stride, any border.
  void fill_line(const float* x, int64_t step, float* to) const {
    const Axis& w = p.axis[2];
    for (int64_t q = 0; q < w.stride; ++q, to += phase) {
      const int64_t last = w.in - 1 + w.lo - q;
      const int64_t begin = std::min(ceil_div(std::max<int64_t>(w.lo - q, 0), w.stride), phase);
      const int64_t end = std::clamp<int64_t>(last < 0 ? 0 : last / w.stride + 1, begin, phase);
      fill_border(x, step, q, 0, begin, to);
      const float* from = x + (begin * w.stride + q - w.lo) * step;
      for (int64_t i = begin; i < end; ++i, from += step * w.stride) to[i] = *from;
      fill_border(x, step, q, end, phase, to);
    }
  }

  void fill_border(const float* x, int64_t step, int64_t q, int64_t from, int64_t until, float* to) const {
    const Axis& w = p.axis[2];
    if (p.mode == PaddingMode::zeros) return void(std::fill(to + from, to + until, 0.0f));
    for (int64_t i = from; i < until; ++i) to[i] = x[border(i * w.stride + q - w.lo, w.in, p.mode) * step];
  }
};

bool over_channels(const Problem& p) { return p.co >= kManyChannels; }

size_t worker_bytes(const Problem& p, const Kernels& k) {
  return align64(Strip(p, k).floats() * sizeof(float)) +
         align64(kMaxPlanarRows * kMaxPlanarVectors * k.lanes * sizeof(float));
}
size_t offset_bytes(const Problem& p) { return align64(2 * p.k() * sizeof(int64_t)); }

class Nest {
 public:
  explicit Nest(const Run& run)
      : run_(run),
        p_(run.problem),
        m_(run.memory),
        k_(run.target.kernels),
        strip_(p_, k_),
        panels_(p_.co, k_),
        across_(ceil_div(p_.axis[2].out, k_.lanes), kMaxPlanarVectors),
        terms_(p_.k()) {
    const int64_t last = p_.axis[1].out - (strip_.blocks() - 1) * strip_.block;
    auto* offsets = reinterpret_cast<int64_t*>(run.workspace);
    strip_.offsets(strip_.block, offsets);
    strip_.offsets(last, offsets + p_.k());
    // Sums go straight to their place where they are the result.
    plain_ = !m_.bias && !m_.scale && !m_.residual && m_.activation == Activation::none && m_.ys.axis[2] == 1;
  }

  int64_t tasks() const { return p_.batch * p_.groups * p_.axis[0].out * strip_.blocks(); }

  void task(int64_t task, int worker) const {
    const int64_t b = task % strip_.blocks(), slice = task / strip_.blocks();
    const int64_t od = slice % p_.axis[0].out, g = slice / p_.axis[0].out % p_.groups,
                  n = slice / p_.axis[0].out / p_.groups;
    const int64_t first = b * strip_.block, outputs = std::min(strip_.block, p_.axis[1].out - first);
    char* at = run_.workspace + offset_bytes(p_) + worker * worker_bytes(p_, k_);
    auto* strip = reinterpret_cast<float*>(at);
    auto* sums = reinterpret_cast<float*>(at + align64(strip_.floats() * sizeof(float)));
    strip_.fill(k_, m_, m_.x + n * m_.xs.n + g * p_.ci * m_.xs.c, od, first, outputs, strip);
    const int64_t* offsets = reinterpret_cast<const int64_t*>(run_.workspace);
    if (outputs < strip_.block) offsets += p_.k();
    const Place at_block{n, g, od, first, outputs};
    over_channels(p_) ? channels(at_block, strip, offsets, sums) : rows(at_block, strip, offsets, sums);
  }

 private:
  struct Place {
    int64_t n, group, od, first, outputs;
  };
  float* y_of(const Place& b, int64_t channel) const {
    return m_.y + b.n * m_.ys.n + channel * m_.ys.c + b.od * m_.ys.axis[0] + b.first * m_.ys.axis[1];
  }
  const float* panel_of(int64_t group, int64_t panel) const {
    return run_.packed + group * panels_.size(p_.k()) + panel * panels_.width * p_.k();
  }

  // Rows of sums of one tile of pixels to output channels from `channel` on, or to rows of that one.
  void finish(const Place& b, const float* c, int64_t c_row, int64_t rows, int64_t pixels, int64_t channel, int64_t row,
              int64_t column, bool by_channel) const {
    PlanarFinishArgs f{};
    f.c = c;
    f.c_row = c_row;
    f.rows = rows;
    f.pixels = pixels;
    f.y = y_of(b, channel) + row * m_.ys.axis[1] + column * m_.ys.axis[2];
    f.y_row = by_channel ? m_.ys.c : m_.ys.axis[1];
    f.y_pixel = m_.ys.axis[2];
    if (m_.residual)
      f.residual = m_.residual + b.n * m_.rs.n + channel * m_.rs.c + b.od * m_.rs.axis[0] +
                   (b.first + row) * m_.rs.axis[1] + column * m_.rs.axis[2];
    f.r_row = by_channel ? m_.rs.c : m_.rs.axis[1];
    f.r_pixel = m_.rs.axis[2];
    f.bias = m_.bias ? m_.bias + channel : nullptr;
    f.scale = m_.scale ? m_.scale + channel : nullptr;
    f.channel_step = by_channel;
    f.activation = m_.activation;
    f.negative_slope = m_.negative_slope;
    k_.planar.finish(f);
  }

  void channels(const Place& b, const float* strip, const int64_t* offsets, float* sums) const {
    PlanarArgs args{};
    args.offsets = offsets;
    args.c_row = plain_ ? m_.ys.c : kMaxPlanarVectors * k_.lanes;
    const Pieces widths[] = {{across_.each + 1, across_.more}, {across_.each, across_.count - across_.more}};
    for (int64_t j = 0; j < panels_.count(); ++j) {
      const float* panel = panel_of(b.group, j);
      const int64_t used = panels_.used(j), first = b.group * p_.co + j * panels_.width;
      args.w_term = panels_.lanes_of(j);
      // One cut of the channels per width of tile: a tile of 27 terms takes 160 cycles, a division some 20.
      const Cuts down[] = {{used, 1}, {used, k_.planar.rows[1]}, {used, k_.planar.rows[2]}, {used, k_.planar.rows[3]}};
      for (int64_t r = 0; r < b.outputs; ++r) {
        int64_t column = 0;
        for (const auto [v, pieces] : widths) {
          if (pieces == 0) continue;
          args.x = strip + r * p_.axis[1].stride * strip_.line + column;
          for (int64_t t = 0, lane = 0; t < down[v].count; lane += down[v].size(t++)) {
            args.w = panel + lane;
            row_of_tiles({b, first + lane, r, column, v, pieces, down[v].size(t)}, args, sums);
          }
          column += pieces * v * k_.lanes;
        }
      }
    }
  }

  // Pieces of one width and the same weights, side by side: each channel's row is written from left to right, a few
  // rows at a time, which the prefetcher follows (conv7, 12 MB of output: 5 to 15 % less time than channel by channel
  // under each piece).
  struct Pieces {
    int64_t vectors, count;
  };
  struct TileRow {
    const Place& block;
    int64_t channel, row, column, vectors, pieces, channels;
  };
  void row_of_tiles(const TileRow& t, PlanarArgs& args, float* sums) const {
    const float* x = args.x;
    float* y = y_of(t.block, t.channel) + t.row * m_.ys.axis[1];
    for (int64_t i = 0, column = t.column; i < t.pieces; ++i, column += t.vectors * k_.lanes) {
      const int64_t pixels = std::min(t.vectors * k_.lanes, p_.axis[2].out - column);
      args.x = x + column - t.column;
      args.lanes = int(pixels);
      args.c = plain_ ? y + column : sums;
      planar_sums(k_, PlanarMode::rows_are_channels, args, terms_, t.vectors, t.channels);
      if (!plain_) finish(t.block, sums, args.c_row, t.channels, pixels, t.channel, t.row, column, true);
    }
    args.x = x;
  }

  void rows(const Place& b, const float* strip, const int64_t* offsets, float* sums) const {
    PlanarArgs args{};
    args.offsets = offsets;
    args.w_term = panels_.lanes_of(0);
    args.x_row = p_.axis[1].stride * strip_.line;
    args.c_row = plain_ ? m_.ys.axis[1] : kMaxPlanarVectors * k_.lanes;
    const float* panel = panel_of(b.group, 0);
    // Neighbouring rows share all rows of input but one: each is read once for all of them.
    const bool slide =
        p_.axis[1].stride == 1 && p_.axis[1].dilation == 1 && p_.ci == 1 && p_.axis[1].taps > 1 && terms_ <= kSumBlock;
    const PlanarMode mode = slide ? PlanarMode::rows_slide : PlanarMode::rows_are_rows;
    args.slide = p_.axis[1].taps;
    const auto most = [&](int v) {
      return slide ? std::min<int64_t>(k_.planar.rows[v], args.slide) : k_.planar.rows[v];
    };
    const Cuts down[] = {{b.outputs, 1}, {b.outputs, most(1)}, {b.outputs, most(2)}, {b.outputs, most(3)}};
    for (int64_t lane = 0; lane < p_.co; ++lane) {
      const int64_t channel = b.group * p_.co + lane;
      float* y = y_of(b, channel);
      args.w = panel + lane;
      if (b.outputs == 1) {
        one_row(b, args, strip, sums, channel);
        continue;
      }
      for (int64_t i = 0, column = 0; i < across_.count; ++i) {
        const int64_t v = across_.size(i), pixels = std::min(v * k_.lanes, p_.axis[2].out - column);
        args.lanes = int(pixels);
        for (int64_t t = 0, r = 0; t < down[v].count; r += down[v].size(t++)) {
          args.x = strip + r * args.x_row + column;
          args.c = plain_ ? y + r * m_.ys.axis[1] + column : sums;
          planar_sums(k_, mode, args, terms_, v, down[v].size(t));
          if (!plain_) finish(b, sums, args.c_row, down[v].size(t), pixels, channel, r, column, false);
        }
        column += pixels;
      }
    }
  }

  // A single row of output: the rows of a tile are pieces of it. 3 chains alone would wait for one another.
  void one_row(const Place& b, PlanarArgs& args, const float* strip, float* sums, int64_t channel) const {
    float* y = y_of(b, channel);
    const int64_t width = p_.axis[2].out;
    int64_t v = kMaxPlanarVectors;
    for (int64_t column = 0; column < width;) {
      const int64_t piece = v * k_.lanes, whole = (width - column) / piece;
      if (whole == 0 && v > 1) {
        --v;
        continue;
      }
      const int64_t count = std::clamp<int64_t>(whole, 1, k_.planar.rows[v]);
      const int64_t pixels = std::min(count * piece, width - column);
      args.lanes = int(std::min(piece, pixels));
      args.x_row = args.c_row = piece;
      args.x = strip + column;
      args.c = plain_ ? y + column : sums;
      planar_sums(k_, PlanarMode::rows_are_rows, args, terms_, v, count);
      if (!plain_) finish(b, sums, pixels, 1, pixels, channel, 0, column, false);
      column += pixels;
    }
  }

  const Run& run_;
  const Problem& p_;
  const Operands& m_;
  const Kernels& k_;
  Strip strip_;
  Panels panels_;
  Cuts across_;
  int64_t terms_;
  bool plain_ = false;
};

std::string decline(const Problem& p, Layout) {
  const double bytes = double(p.ci) * p.axis[0].taps * p.axis[1].window() *
                       (double(p.axis[2].out) * p.axis[2].stride + p.axis[2].window()) * sizeof(float);
  if (bytes > kLimit) return "the rows under one row of output take " + std::to_string(int64_t(bytes)) + " bytes";
  return "";
}

size_t workspace(const Problem& p, Target t) { return offset_bytes(p) + t.threads * worker_bytes(p, t.kernels); }

double cost(const Problem& p, Layout layout, Target t) {
  const Kernels& k = t.kernels;
  const Strip strip(p, k);
  const double rows = double(p.rows()) * double(p.groups);
  const double vectors = rows * double(p.co) * double(ceil_div(p.axis[2].out, k.lanes));
  // 6 cycles to begin and end a sum; strips at 4 floats a cycle, 1 where
  // columns are picked apart. Channels last: every float in and out on its own.
  const double sums = vectors * (double(p.k()) * 2 * k.lanes / k.peak + 6);
  const double strips = rows / double(strip.block) * p.ci * p.axis[0].taps * double(strip.rows(strip.block)) *
                        double(strip.line) *
                        (layout.channels_contiguous ? 3.0
                         : p.axis[2].stride == 1    ? 0.25
                                                    : 1.0);
  const double scattered = layout.channels_contiguous ? double(p.pixels()) * double(p.groups * p.co) * 3 : 0;
  return (sums + strips + scattered) / t.threads;
}

void run(const Run& r) {
  const Nest nest(r);
  parallel_for(nest.tasks(), r.target.threads, [&](int64_t task, int worker) { nest.task(task, worker); });
}

}  // namespace

const Algorithm kPlanar = {"planar", "rows of pixels, channel by channel", decline, workspace, cost, run};

}  // namespace omniconv::conv
