// conv/planar_nest.cpp -- strips of input, and the loops over planar tiles
#include "conv/planar_nest.hpp"

#include <algorithm>

namespace omniconv::conv {

PlanarStrip PlanarStrip::cut(int64_t most) const {
  const Axis& h = p.axis[1];
  const int64_t out = std::max<int64_t>(h.out, 1);
  const int64_t fit = int64_t(kBudget / (line * p.ci * p.axis[0].taps * sizeof(float))) - h.window();
  PlanarStrip strip = *this;
  strip.block = std::clamp<int64_t>(std::min(fit / h.stride + 1, most), 1, out);
  strip.block = ceil_div(out, ceil_div(out, strip.block));
  return strip;
}

std::string decline_strip(const Problem& p, int64_t outputs) {
  const Axis& h = p.axis[1];
  const double rows = double(outputs - 1) * double(h.stride) + double(h.window());
  const double bytes = double(p.ci) * double(p.axis[0].taps) * rows *
                       (double(p.axis[2].out) * double(p.axis[2].stride) + double(p.axis[2].window())) * sizeof(float);
  if (bytes <= double(PlanarStrip::kLimit)) return "";
  return "the rows under " + std::string(outputs == 1 ? "one row" : "two rows") + " of output take " +
         std::to_string(int64_t(bytes)) + " bytes";
}

void PlanarStrip::offsets(int64_t outputs, int64_t* to) const {
  const Axis &d = p.axis[0], &h = p.axis[1], &w = p.axis[2];
  const int64_t plane = rows(outputs) * line;
  for (int64_t kw = 0; kw < w.taps; ++kw)
    for (int64_t kd = 0; kd < d.taps; ++kd)
      for (int64_t kh = 0; kh < h.taps; ++kh)
        for (int64_t c = 0; c < p.ci; ++c)
          *to++ = (c * d.taps + kd) * plane + kh * h.dilation * line + kw * w.dilation % w.stride * phase +
                  kw * w.dilation / w.stride;
}

void PlanarStrip::fill(const Kernels& k, const Operands& m, const float* x, int64_t od, int64_t first, int64_t outputs,
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

// Any stride, any border.
void PlanarStrip::fill_line(const float* x, int64_t step, float* to) const {
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

void PlanarStrip::fill_border(const float* x, int64_t step, int64_t q, int64_t from, int64_t until, float* to) const {
  const Axis& w = p.axis[2];
  if (p.mode == PaddingMode::zeros) return void(std::fill(to + from, to + until, 0.0f));
  for (int64_t i = from; i < until; ++i) to[i] = x[border(i * w.stride + q - w.lo, w.in, p.mode) * step];
}

PlanarNest::PlanarNest(const Run& run, const PlanarStrip& strip)
    : run_(run),
      p_(run.problem),
      m_(run.memory),
      k_(run.target.kernels),
      strip_(strip),
      panels_(p_.co, k_),
      across_(ceil_div(p_.axis[2].out, k_.lanes), kMaxPlanarVectors),
      plain_(!m_.bias && !m_.scale && !m_.residual && m_.activation == Activation::none && m_.ys.axis[2] == 1),
      blocks_(strip_.blocks()),
      panel_floats_(panels_.size(p_.k())),
      panel_lanes_(panels_.lanes_of(0)),
      slide_(p_.axis[1].stride == 1 && p_.axis[1].dilation == 1 && p_.ci == 1 && p_.axis[1].taps > 1 &&
             p_.k() <= kSumBlock),
      down_{{down_of(strip_.block, 1), down_of(strip_.block, 1), down_of(strip_.block, 2), down_of(strip_.block, 3)},
            {down_of(last(), 1), down_of(last(), 1), down_of(last(), 2), down_of(last(), 3)}} {}

PlanarNest::Down PlanarNest::down_of(int64_t outputs, int v) const {
  const PlanarKernels& k = k_.planar;
  if (slide_ && p_.axis[1].taps == 3 && outputs >= k.least_3[v]) return {true, Cuts(outputs, k.rows_3[v])};
  return {false, Cuts(outputs, slide_ ? std::min<int64_t>(k.rows[v], p_.axis[1].taps) : k.rows[v])};
}

PlanarNest::Place PlanarNest::place(int64_t task) const {
  const auto [above, b] = split(task, blocks_);
  const auto [slice, od] = split(above, p_.axis[0].out);
  const auto [n, group] = split(slice, p_.groups);
  const int64_t first = b * strip_.block;
  return {n, group, od, first, std::min(strip_.block, p_.axis[1].out - first)};
}

void PlanarNest::finish(const Place& b, const float* c, int64_t c_row, int64_t rows, int64_t pixels, int64_t channel,
                        int64_t row, int64_t column, bool by_channel) const {
  PlanarFinishArgs f{};
  f.c = c;
  f.c_row = c_row;
  f.rows = rows;
  f.pixels = pixels;
  f.y = y_of(b, channel, row) + column * m_.ys.axis[2];
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

void PlanarNest::channels(const Place& b, const float* strip, const int64_t* offsets, float* sums) const {
  PlanarArgs args{};
  args.offsets = offsets;
  args.c_row = plain_ ? m_.ys.c : kMaxPlanarVectors * k_.lanes;
  each_tile_row(b, run_.packed, p_.k(), 1, args, [&](const TileRow& t) {
    args.x = strip + t.row * p_.axis[1].stride * strip_.line + t.column;
    row_of_tiles(t, args, sums);
  });
}

void PlanarNest::row_of_tiles(const TileRow& t, PlanarArgs& args, float* sums) const {
  float* y = y_of(t.place, t.channel, t.row);
  for (int64_t i = 0, column = t.column; i < t.pieces; ++i, column += t.vectors * k_.lanes) {
    const int64_t pixels = std::min(t.vectors * k_.lanes, p_.axis[2].out - column);
    args.lanes = int(pixels);
    args.c = plain_ ? y + column : sums;
    planar_sums(k_, PlanarMode::rows_are_channels, args, p_.k(), t.vectors, t.channels);
    if (!plain_) finish(t.place, sums, args.c_row, t.channels, pixels, t.channel, t.row, column, true);
    args.x += t.vectors * k_.lanes;
  }
}

void PlanarNest::rows(const Place& b, const float* strip, const int64_t* offsets, float* sums) const {
  PlanarArgs args{};
  args.offsets = offsets;
  args.w_term = panel_lanes_;
  args.x_row = p_.axis[1].stride * strip_.line;
  args.c_row = plain_ ? m_.ys.axis[1] : kMaxPlanarVectors * k_.lanes;
  args.slide = p_.axis[1].taps;
  const float* panel = run_.packed + b.group * panel_floats_;
  const int64_t terms = p_.k();
  const PlanarMode mode = slide_ ? PlanarMode::rows_slide : PlanarMode::rows_are_rows;
  const Down* of_width = down_[b.outputs < strip_.block];
  for (int64_t lane = 0; lane < p_.co; ++lane) {
    const int64_t channel = b.group * p_.co + lane;
    float* y = y_of(b, channel, 0);
    args.w = panel + lane;
    if (b.outputs == 1) {
      one_row(b, args, strip, sums, channel);
      continue;
    }
    for (int64_t i = 0, column = 0; i < across_.count; ++i) {
      const int64_t v = across_.size(i), pixels = std::min(v * k_.lanes, p_.axis[2].out - column);
      const auto& [slide_3, cuts] = of_width[v];
      args.lanes = int(pixels);
      args.count = terms;
      for (int64_t t = 0, r = 0; t < cuts.count;) {
        const int64_t height = cuts.size(t), alike = t < cuts.more ? cuts.more - t : cuts.count - t;
        args.x = strip + r * args.x_row + column;
        args.c = plain_ ? y + r * m_.ys.axis[1] + column : sums;
        args.repeat = slide_3 && plain_ ? alike : 1;
        slide_3 ? k_.planar.slide_3[v][height](args) : planar_sums(k_, mode, args, terms, v, height);
        if (!plain_) finish(b, sums, args.c_row, height, pixels, channel, r, column, false);
        t += args.repeat;
        r += args.repeat * height;
      }
      column += pixels;
    }
  }
}

// A single row of output: the rows of a tile are pieces of it. 3 chains alone would wait for one another.
void PlanarNest::one_row(const Place& b, PlanarArgs& args, const float* strip, float* sums, int64_t channel) const {
  float* y = y_of(b, channel, 0);
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
    planar_sums(k_, PlanarMode::rows_are_rows, args, p_.k(), v, count);
    if (!plain_) finish(b, sums, pixels, 1, pixels, channel, 0, column, false);
    column += pixels;
  }
}

}  // namespace omniconv::conv
