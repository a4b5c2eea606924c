// dfp16/lines.cpp -- depthwise convolution and its gradients, line by line
#include <algorithm>
#include <cmath>

#include "conv/kernels.hpp"
#include "core/thread_pool.hpp"
#include "dfp16/product.hpp"

namespace omniconv::dfp16 {
namespace {

constexpr int64_t kMargin = 64;  // two vectors of int32 past the last element, at most

struct Room {
  double* sums;
  float *floats, *bias, *scale;
};

Room lay_out(Arena& arena, const Shape& s) {
  const int64_t count = s.grid[3] + kMargin;
  Room r{};
  r.sums = arena.take<double>(count);
  for (float** p : {&r.floats, &r.bias, &r.scale}) *p = arena.take<float>(count);
  return r;
}

void finish_line(const ProductArgs& a, const Room& r, int64_t channel, int64_t image, int64_t to, int64_t residual,
                 int worker) {
  const Destination& d = a.to;
  const int64_t count = a.shape.grid[3];
  if (d.integer) {
    int64_t* y = static_cast<int64_t*>(d.data) + to;
    for (int64_t i = 0; i < count; ++i) y[i * d.grid[3]] = int64_t(r.sums[i]);
    return;
  }
  const double scale = d.row_scale[image * d.row_scale_step];
  const double column = d.column_scale ? d.column_scale[channel] : 1.0;
  for (int64_t i = 0; i < count; ++i) r.floats[i] = float(r.sums[i] * scale * column);
  conv::FinishArgs f{};  // one pixel of `count` channels, which share the bias and the scale of this one
  f.c = r.floats;
  f.panel = count;
  f.pixels = 1;
  f.channels = count;
  f.y = static_cast<float*>(d.data) + to;
  f.y_channel = d.grid[3];
  f.residual = d.residual ? d.residual + residual : nullptr;
  f.r_channel = d.residual_grid[3];
  if (d.bias) std::fill_n(r.bias, count, d.bias[channel]);
  if (d.scale) std::fill_n(r.scale, count, d.scale[channel]);
  f.bias = d.bias ? r.bias : nullptr;
  f.scale = d.scale ? r.scale : nullptr;
  f.activation = d.activation;
  f.negative_slope = d.negative_slope;
  conv::kernels().finish(f);
  if (d.largest) d.largest[worker] = std::max(d.largest[worker], a.kernels.max_bits(f.y, count, d.grid[3]));
}

void gradient(const ProductArgs& a, int64_t group, int64_t row, int worker) {
  constexpr int64_t kMost = int64_t{1} << 23;
  const Shape& s = a.shape;
  const Destination& d = a.to;
  const int64_t at[4] = {0, row / (s.grid[3] * s.grid[2]), row / s.grid[3] % s.grid[2], row % s.grid[3]};
  int64_t from = group * s.source_group + s.last[size_t(at[3])], to = group * d.group;
  for (int axis = 0; axis < 3; ++axis) from += at[axis] * s.grid_step[axis];
  for (int axis = 0; axis < 4; ++axis) to += at[axis] * d.grid[axis];
  const int16_t* column = a.packed + group * s.column_row();
  int64_t sum[16] = {};  // one, and room for a vector
  for (size_t r = 0; r < s.offsets.size(); ++r)
    for (int64_t i = 0; i < s.run; i += kMost)
      sum[0] += a.kernels.dot(a.source + from + s.offsets[r] + i, column + int64_t(r) * s.run + i,
                              std::min(kMost, s.run - i));
  if (d.integer) {
    static_cast<int64_t*>(d.data)[to] = sum[0];
    return;
  }
  float out[16];
  double scales[16] = {d.column_scale ? d.column_scale[group] : 1.0};
  a.kernels.to_float({sum, 1, false, false, d.row_scale[0], d.column_scale ? scales : nullptr, out});
  static_cast<float*>(d.data)[to] = out[0];
  if (d.largest) d.largest[worker] = std::max(d.largest[worker], a.kernels.max_bits(out, 1, 1));
}

}  // namespace

size_t lines_room(const Shape& s) {
  Arena arena;
  lay_out(arena, s);
  return arena.used();
}

void multiply_lines(const ProductArgs& a) {
  const Shape& s = a.shape;
  const Destination& d = a.to;
  if (s.grad_weight) {
    parallel_for(s.groups * s.rows(), a.threads,
                 [&](int64_t task, int worker) { gradient(a, task / s.rows(), task % s.rows(), worker); });
    return;
  }
  const size_t room = lines_room(s);
  const int64_t lines = s.grid[0] * s.grid[1] * s.grid[2];
  const int64_t step = s.grid[3] > 1 ? s.last[1] - s.last[0] : 1;
  parallel_for(s.groups * s.grid[0] * s.grid[1], a.threads, [&](int64_t task, int worker) {
    Arena arena(a.room + size_t(worker) * room);
    const Room r = lay_out(arena, s);
    const int64_t planes = s.grid[0] * s.grid[1], group = task / planes, n = task % planes / s.grid[1];
    const int64_t depth = task % s.grid[1];
    for (int64_t h = 0; h < lines / planes; ++h) {
      const int64_t at[3] = {n, depth, h};
      int64_t from = group * s.source_group + s.last[0], to = group * d.group, residual = group * d.residual_group;
      for (int axis = 0; axis < 3; ++axis) {
        from += at[axis] * s.grid_step[axis];
        to += at[axis] * d.grid[axis];
        residual += at[axis] * d.residual_grid[axis];
      }
      a.kernels.line({a.source + from, s.offsets.data(), int64_t(s.offsets.size()), s.real_run, s.run,
                      a.packed + group * s.column_row(), step, s.grid[3], r.sums});
      finish_line(a, r, group, n, to, residual, worker);
    }
  });
}

}  // namespace omniconv::dfp16
