// sparse/masked_blocks.cpp -- convolution of cells as a batch of blocks
//
// The cells that are seen become a batch: each is copied with the border that its windows reach, channels last, hidden
// neighbours as zeros, and the dense algorithms do the rest, Winograd's included. Batches grow with the weights, which
// are read once for each: with 128 channels and cells of 4 x 4, a cell of 128 takes two thirds of the time of one
// of 16.
#include <algorithm>
#include <cstring>

#include "conv/blocks.hpp"
#include "conv/kernels.hpp"
#include "core/thread_pool.hpp"
#include "core/workspace.hpp"
#include "sparse/masked.hpp"

namespace omniconv::sparse {

using conv::Axis;
using conv::Problem;

namespace {

// Blocks of so many bytes per batch: half of L2 for their sake, twice the weights so that those are read seldom.
int64_t fits(int64_t bytes, const ConvDesc& desc) {
  int64_t weights = int64_t(sizeof(float));
  for (const int64_t n : desc.w_shape) weights *= n;
  const int64_t most = std::clamp<int64_t>(2 * weights, int64_t{1} << 18, int64_t{3} << 20);
  return std::clamp<int64_t>(most / std::max<int64_t>(bytes, 1), 16, 256);
}

TensorView block_view(float* data, int64_t count, int64_t channels, const Side (&s)[2]) {
  const int order[] = {0, 3, 1, 2};
  return TensorView(data, {count, s[0].extent, s[1].extent, channels}).permuted(order);
}
int64_t block_floats(const Side (&s)[2], int64_t channels) { return s[0].extent * s[1].extent * channels; }

// Sums of a block to their place, with the epilogue.
void scatter_block(const Images& to, const TensorView& residual, const Side (&sides)[2], Cell cell, const float* sums,
                   conv::FinishArgs f) {
  f.panel = to.channels, f.pixels = sides[1].extent;
  f.y_pixel = to.strides.axis[2], f.y_channel = to.strides.c;
  conv::Strides r;
  if (residual.defined()) r = conv::strides_of(residual), f.r_pixel = r.axis[2], f.r_channel = r.c;
  const int64_t column = cell.column * sides[1].step;
  for (int64_t i = 0; i < sides[0].extent; ++i, sums += f.pixels * f.panel) {
    const int64_t row = cell.row * sides[0].step + i;
    f.c = sums;
    f.y = to.data + cell.n * to.strides.n + row * to.strides.axis[1] + column * f.y_pixel;
    if (residual.defined())
      f.residual = static_cast<const float*>(residual.data) + cell.n * r.n + row * r.axis[1] + column * f.r_pixel;
    conv::kernels().finish(f);
  }
}

}  // namespace

// Blocks of x with the border that the windows of a cell of y reach.
Blocks forward_blocks(const Problem& p, const int64_t (&cells)[2]) {
  Blocks b{};
  for (int i = 0; i < 2; ++i) {
    const Axis& a = p.axis[1 + i];
    const int64_t out = a.out / cells[i], reach = (out - 1) * a.stride + a.window();
    b.y[i] = {a.out, out, 0, out, out};
    b.x[i] = {a.in, a.in / cells[i], -a.lo, out * a.stride, reach};
    b.axis[i] = {reach, out, a.taps, a.stride, a.dilation, 0};
  }
  return b;
}

// Blocks of the gradient of y that a cell of x reaches; false where they differ from cell to cell.
bool input_blocks(const Problem& p, const int64_t (&cells)[2], Blocks* b) {
  for (int i = 0; i < 2; ++i) {
    const Axis& a = p.axis[1 + i];
    const int64_t in = a.in / cells[i];
    if (cells[i] > 1 && in % a.stride != 0) return false;
    const int64_t first = conv::ceil_div(std::max<int64_t>(a.lo - a.window() + 1, 0), a.stride) -
                          std::max<int64_t>(a.window() - 1 - a.lo, 0) / a.stride;
    const int64_t last = (in - 1 + a.lo) / a.stride, lo = a.lo - first * a.stride;
    const int64_t end = (last - first) * a.stride + a.window() - lo - in;
    if (last < first || lo < 0) return false;
    b->x[i] = {a.in, in, 0, in, in};
    b->y[i] = {a.out, a.out / cells[i], first, in / a.stride, last - first + 1};
    b->axis[i] = {in, last - first + 1, a.taps, a.stride, a.dilation, lo};
    b->hi[i] = std::max<int64_t>(end, 0), b->rest[i] = std::max<int64_t>(-end, 0);
  }
  return true;
}

// Chosen for half of an image: bits must depend neither on how many images there are nor on what else is seen.
ConvPlan plan_blocks(const ConvDesc& desc, int64_t cells, const Blocks& b) {
  ConvDesc d = desc;
  d.activation = Activation::none;
  d.channels_last = true;
  d.x_shape = {std::clamp<int64_t>(cells / 2, 1, 64), desc.x_shape[1], b.axis[0].in, b.axis[1].in};
  for (size_t i = 0; i < 2; ++i) d.pad_lo[i] = b.axis[i].lo, d.pad_hi[i] = b.hi[i], d.output_padding[i] = b.rest[i];
  if (desc.algorithm == "auto") {
    double best = 0;
    for (const AlgorithmInfo& a : algorithms(d))
      if (a.usable && a.name != "reference" && (d.algorithm == "auto" || a.cost < best))
        best = a.cost, d.algorithm = a.name;
  }
  return ConvPlan(d);
}

// `from` and `to`: blocks of what is read and of what is written.
void convolve_blocks(const ConvDesc& desc, const CellMask& mask, const ConvOperands& o, const Blocks& b,
                     const ConvPlan& of_some) {
  const bool forward = desc.op == ConvOp::forward;
  const Side(&from)[2] = forward ? b.x : b.y;
  const Side(&to)[2] = forward ? b.y : b.x;
  std::optional<ScopedWorkspace> copy;
  const Images in(channels_innermost(o.a, copy)), out(o.out);
  const std::vector<Cell> cells = seen_cells(mask);
  const int64_t count = int64_t(cells.size());
  if (count == 0) return;
  const int64_t read = block_floats(from, in.channels), written = block_floats(to, out.channels);
  int64_t tasks = conv::ceil_div(count, fits((read + written) * int64_t(sizeof(float)), desc));
  tasks = conv::ceil_div(tasks, num_threads()) * num_threads();
  const int64_t each = conv::ceil_div(count, tasks);
  ConvPlan plan = of_some.for_batch(each);
  if (o.b.defined()) plan.pack(o.b);
  AlignedBuffer room[2];
  const conv::FinishArgs finish = finish_of(desc, o, room);
  constexpr int64_t kPast = 16;  // floats that a vector may be read past the last sum
  parallel_for(conv::ceil_div(count, each), [&](int64_t task, int) {
    const ScopedWorkspace scratch(size_t(each * (read + written) + kPast) * sizeof(float));
    float* x = static_cast<float*>(scratch.data());
    float* y = x + each * read;
    const int64_t first = task * each, here = std::min(each, count - first);
    for (int64_t i = 0; i < here; ++i)
      gather_block(in, mask, from, cells[size_t(first + i)], 0, in.channels, in.channels, x + i * read);
    std::memset(x + here * read, 0, size_t((each - here) * read) * sizeof(float));
    plan.run({.a = block_view(x, each, in.channels, from), .out = block_view(y, each, out.channels, to)});
    for (int64_t i = 0; i < here; ++i)
      scatter_block(out, o.residual, to, cells[size_t(first + i)], y + i * written, finish);
  });
}

// Batches one after the other, their sums added in order: results do not depend on threads.
void grad_weight_blocks(const ConvDesc& desc, const CellMask& mask, const ConvOperands& o, const Blocks& b,
                        const ConvPlan& of_some) {
  std::optional<ScopedWorkspace> copies[2];
  const Images g(channels_innermost(o.a, copies[0])), x(channels_innermost(o.b, copies[1]));
  const std::vector<Cell> cells = seen_cells(mask);
  const int64_t count = int64_t(cells.size()), g_floats = block_floats(b.y, g.channels),
                x_floats = block_floats(b.x, x.channels), size = o.out.size();
  const int64_t each = fits((g_floats + x_floats) * int64_t(sizeof(float)), desc);
  const AlignedBuffer blocks(size_t(each * (g_floats + x_floats)) * sizeof(float)), part(size_t(size) * sizeof(float)),
      sums(size_t(size) * sizeof(double));
  float *gs = static_cast<float*>(blocks.data()), *xs = gs + each * g_floats;
  auto* sum = static_cast<double*>(sums.data());
  std::fill_n(sum, size, 0.0);
  const auto shape = desc.w_shape;
  const TensorView dw(static_cast<float*>(part.data()), {shape[0], shape[1], shape[2], shape[3]});
  const ConvPlan plan = of_some.for_batch(each);
  for (int64_t first = 0; first < count; first += each) {
    parallel_for(each, [&](int64_t i, int) {
      if (first + i < count) {
        const Cell cell = cells[size_t(first + i)];
        gather_block(g, mask, b.y, cell, 0, g.channels, g.channels, gs + i * g_floats);
        gather_block(x, mask, b.x, cell, 0, x.channels, x.channels, xs + i * x_floats);
      } else {
        std::memset(gs + i * g_floats, 0, size_t(g_floats) * sizeof(float));
        std::memset(xs + i * x_floats, 0, size_t(x_floats) * sizeof(float));
      }
    });
    plan.run({.a = block_view(gs, each, g.channels, b.y), .b = block_view(xs, each, x.channels, b.x), .out = dw});
    for (int64_t i = 0; i < size; ++i) sum[i] += double(static_cast<const float*>(dw.data)[i]);
  }
  for (int64_t i = 0; i < size; ++i) {
    int64_t at = 0, rest = i;
    for (int d = 3; d >= 0; --d) at += rest % shape[size_t(d)] * o.out.strides[size_t(d)], rest /= shape[size_t(d)];
    static_cast<float*>(o.out.data)[at] = float(sum[i]);
  }
}

}  // namespace omniconv::sparse
