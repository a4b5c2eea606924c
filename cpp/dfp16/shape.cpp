// dfp16/shape.cpp -- rows, runs and offsets; copies of the operands in the form of the product
#include "dfp16/shape.hpp"

#include <algorithm>
#include <cstring>

#include "core/thread_pool.hpp"

namespace omniconv::dfp16 {

using conv::Axis;
using conv::border;
using conv::kAxes;
using conv::Problem;

namespace {

int64_t grown(const Axis& a) { return (a.out - 1) * a.stride + a.window(); }

void set_run(Shape& s, int64_t length) {
  s.real_run = length;
  s.run = (length + 1) / 2 * 2;
}

FillArgs fill_of(const Values& v, int64_t at, int64_t index = 0) {
  const auto* bytes = static_cast<const char*>(v.data);
  FillArgs f{};
  f.src = bytes + at * (v.integer ? int64_t(sizeof(int16_t)) : int64_t(sizeof(float)));
  f.integer = v.integer;
  if (v.steps.inverse) {
    f.inverse = v.steps.inverse[index * v.steps.step];
    f.low = v.steps.low[index * v.steps.step];
    f.high = v.steps.high[index * v.steps.step];
  }
  return f;
}

// Element `place` of an axis with its border, in the input; -1 for a zero.
int64_t inside(const Axis& a, PaddingMode mode, int64_t place) { return border(place - a.lo, a.in, mode); }

}  // namespace

Shape forward_shape(const Problem& p) {
  Shape s;
  s.problem = p;
  s.groups = p.groups;
  s.columns = p.co;
  for (int i = 0; i < kAxes; ++i) s.in[i] = grown(p.axis[i]);
  const int64_t pixel = p.ci, line = s.in[2] * pixel, plane = s.in[1] * line, image = s.in[0] * plane;
  s.source_group = p.batch * image;
  s.grid[0] = p.batch;
  for (int i = 0; i < kAxes; ++i) s.grid[1 + i] = p.axis[i].out;
  s.grid_step[0] = image;
  s.grid_step[1] = p.axis[0].stride * plane;
  s.grid_step[2] = p.axis[1].stride * line;
  for (int64_t o = 0; o < p.axis[2].out; ++o) s.last.push_back(o * p.axis[2].stride * pixel);
  const bool touching = p.axis[2].taps == 1 || p.axis[2].dilation == 1;
  set_run(s, touching ? p.axis[2].taps * p.ci : p.ci);
  for (int64_t d = 0; d < p.axis[0].taps; ++d)
    for (int64_t h = 0; h < p.axis[1].taps; ++h)
      for (int64_t w = 0; w < (touching ? 1 : p.axis[2].taps); ++w)
        s.offsets.push_back(d * p.axis[0].dilation * plane + h * p.axis[1].dilation * line +
                            w * p.axis[2].dilation * pixel);
  s.aligned = p.ci % kNormBlock == 0;
  return s;
}

Shape grad_weight_shape(const Problem& p) {
  Shape s;
  s.problem = p;
  s.grad_weight = true;
  s.groups = p.groups;
  s.columns = p.co;
  for (int i = 0; i < kAxes; ++i) s.in[i] = grown(p.axis[i]);
  s.phases = std::min(p.axis[2].stride, s.in[2]);
  s.phase = (s.in[2] + p.axis[2].stride - 1) / p.axis[2].stride;
  const int64_t line = s.phases * s.phase, plane = s.in[1] * line, image = s.in[0] * plane;
  s.source_group = p.ci * p.batch * image;
  s.grid[0] = p.ci;
  for (int i = 0; i < kAxes; ++i) s.grid[1 + i] = p.axis[i].taps;
  s.grid_step[0] = p.batch * image;
  s.grid_step[1] = p.axis[0].dilation * plane;
  s.grid_step[2] = p.axis[1].dilation * line;
  for (int64_t k = 0; k < p.axis[2].taps; ++k) {
    const int64_t at = k * p.axis[2].dilation;
    s.last.push_back(at % p.axis[2].stride * s.phase + at / p.axis[2].stride);
  }
  // Lines, planes and images that follow one another without a gap are one run.
  int64_t length = p.axis[2].out, outer[3] = {p.batch, p.axis[0].out, p.axis[1].out};
  const int64_t step[3] = {image, p.axis[0].stride * plane, p.axis[1].stride * line};
  for (int i = 2; i >= 0 && step[i] == length; --i) {
    length *= outer[i];
    outer[i] = 1;
  }
  set_run(s, length);
  for (int64_t n = 0; n < outer[0]; ++n)
    for (int64_t d = 0; d < outer[1]; ++d)
      for (int64_t h = 0; h < outer[2]; ++h) s.offsets.push_back(n * step[0] + d * step[1] + h * step[2]);
  return s;
}

namespace {

// One line [w][ci] of the source of a forward problem.
void fill_line(const Shape& s, const Values& x, int64_t at, const float (&factor)[2], const Kernels& k, int16_t* to) {
  const Problem& p = s.problem;
  const Axis& a = p.axis[2];
  const int64_t first = std::clamp<int64_t>(a.lo, 0, s.in[2]), end = std::clamp<int64_t>(a.lo + a.in, first, s.in[2]);
  auto pixels = [&](int64_t place, int64_t count, int64_t from) {
    FillArgs f = fill_of(x, at + from * x.strides.axis[2]);
    f.row_stride = x.strides.axis[2];
    f.column_stride = x.strides.c;
    f.rows = count;
    f.columns = p.ci;
    f.dst = to + place * p.ci;
    f.dst_row = p.ci;
    std::copy(factor, factor + 2, f.factor);
    k.fill(f);
  };
  if (end > first) pixels(first, end - first, first - a.lo);
  for (int64_t place = 0; place < s.in[2]; ++place) {
    if (place == first && end > first) place = end;
    if (place >= s.in[2]) break;
    const int64_t from = inside(a, p.mode, place);
    if (from < 0)
      std::memset(to + place * p.ci, 0, size_t(p.ci) * sizeof(int16_t));
    else
      pixels(place, 1, from);
  }
}

// One line [w modulo stride][w / stride] of the source of grad_weight, for `count` channels source_channel apart.
void fill_phases(const Shape& s, const Values& x, int64_t at, int64_t channels, int64_t source_channel,
                 const float (&factor)[2], const Kernels& k, int16_t* to) {
  const Problem& p = s.problem;
  const Axis& a = p.axis[2];
  for (int64_t q = 0; q < s.phases; ++q) {
    const int64_t reach = (s.in[2] - q + a.stride - 1) / a.stride;  // places of this phase
    auto place_of = [&](int64_t i) { return i * a.stride + q; };
    int64_t first = 0;
    while (first < reach && place_of(first) < a.lo) ++first;
    int64_t end = first;
    if (a.lo + a.in > place_of(first)) end = std::min(reach, (a.lo + a.in - 1 - q) / a.stride + 1);
    auto elements = [&](int64_t i, int64_t count, int64_t from) {
      FillArgs f = fill_of(x, at + from * x.strides.axis[2]);
      f.row_stride = x.strides.c;
      f.column_stride = a.stride * x.strides.axis[2];
      f.rows = channels;
      f.columns = count;
      f.dst = to + q * s.phase + i;
      f.dst_row = source_channel;
      std::copy(factor, factor + 2, f.factor);
      k.fill(f);
    };
    if (end > first) elements(first, end - first, place_of(first) - a.lo);
    for (int64_t i = 0; i < s.phase; ++i) {
      if (i == first && end > first) i = end;
      if (i >= s.phase) break;
      const int64_t from = i < reach ? inside(a, p.mode, place_of(i)) : -1;
      if (from >= 0) {
        elements(i, 1, from);
        continue;
      }
      for (int64_t c = 0; c < channels; ++c) to[q * s.phase + i + c * source_channel] = 0;
    }
  }
}

}  // namespace

void fill_source(const Shape& s, const Values& x, const float (*factors)[2], int64_t factor_step, const Kernels& k,
                 int threads, int16_t* source) {
  const Problem& p = s.problem;
  const int64_t line = s.grad_weight ? s.phases * s.phase : s.in[2] * p.ci;
  const int64_t lines = s.in[0] * s.in[1], channel = p.batch * lines * line;  // grad_weight: of one channel
  parallel_for(p.groups * p.batch * lines, threads, [&](int64_t task, int) {
    const int64_t l = task % lines, n = task / lines % p.batch, g = task / lines / p.batch;
    const int64_t d = inside(p.axis[0], p.mode, l / s.in[1]), h = inside(p.axis[1], p.mode, l % s.in[1]);
    int16_t* to = source + g * s.source_group + (n * lines + l) * line;
    if (d < 0 || h < 0) {
      for (int64_t c = 0; c < (s.grad_weight ? p.ci : 1); ++c)
        std::memset(to + c * channel, 0, size_t(line) * sizeof(int16_t));
      return;
    }
    const int64_t at = n * x.strides.n + g * p.ci * x.strides.c + d * x.strides.axis[0] + h * x.strides.axis[1];
    const float (&factor)[2] = factors[n * factor_step];
    if (s.grad_weight)
      fill_phases(s, x, at, p.ci, channel, factor, k, to);
    else
      fill_line(s, x, at, factor, k, to);
  });
  const int64_t filled = s.groups * s.source_group;
  std::memset(source + filled, 0, size_t(s.source_elements() - filled) * sizeof(int16_t));
}

void fill_weights(const Shape& s, const Values& w, const conv::WeightView& view, const float (&factor)[2],
                  const Kernels& k, int threads, int16_t* dense) {
  const Problem& p = s.problem;
  const int64_t row = s.column_row(), taps_w = s.real_run / p.ci, count = int64_t(s.offsets.size());
  parallel_for(p.groups * p.co, threads, [&](int64_t task, int) {
    int16_t* to = dense + task * row;
    std::memset(to, 0, size_t(row) * sizeof(int16_t));
    for (int64_t r = 0; r < count; ++r) {
      int64_t rest = r, at = view.offset + task / p.co * view.group + task % p.co * view.co;
      if (taps_w == 1) {
        at += rest % p.axis[2].taps * view.tap[2];
        rest /= p.axis[2].taps;
      }
      at += rest % p.axis[1].taps * view.tap[1] + rest / p.axis[1].taps * view.tap[0];
      FillArgs f = fill_of(w, at, task);
      f.row_stride = view.tap[2];
      f.column_stride = view.ci;
      f.rows = taps_w;
      f.columns = p.ci;
      f.dst = to + r * s.run;
      f.dst_row = p.ci;
      std::copy(factor, factor + 2, f.factor);
      k.fill(f);
    }
  });
}

void fill_gradient(const Shape& s, const Values& grad, const float (&factor)[2], const Kernels& k, int threads,
                   int16_t* dense) {
  const Problem& p = s.problem;
  const int64_t row = s.column_row(), columns = p.axis[2].out, lines = p.axis[0].out * p.axis[1].out;
  // Where runs hold several lines, these follow one another in the dense matrix as well.
  const int64_t step = s.real_run > columns ? columns : s.run;
  parallel_for(p.groups * p.co, threads, [&](int64_t task, int) {
    int16_t* to = dense + task * row;
    std::memset(to, 0, size_t(row) * sizeof(int16_t));
    for (int64_t n = 0; n < p.batch; ++n)
      for (int64_t l = 0; l < lines; ++l) {
        const int64_t d = l / p.axis[1].out, h = l % p.axis[1].out, i = n * lines + l;
        FillArgs f = fill_of(
            grad, n * grad.strides.n + task * grad.strides.c + d * grad.strides.axis[0] + h * grad.strides.axis[1]);
        f.column_stride = grad.strides.axis[2];
        f.rows = 1;
        f.columns = columns;
        // A run of merged lines is padded to an even length at its end alone.
        f.dst = to + i * step + i * columns / s.real_run * (step == columns ? s.run - s.real_run : 0);
        f.dst_row = 0;
        std::copy(factor, factor + 2, f.factor);
        k.fill(f);
      }
  });
}

}  // namespace omniconv::dfp16
