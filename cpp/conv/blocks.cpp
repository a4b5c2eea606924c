// conv/blocks.cpp -- cutting a problem into tasks, and the product of one task
#include "conv/blocks.hpp"

#include <algorithm>
#include <vector>

#include "conv/pixels.hpp"
#include "core/thread_pool.hpp"

namespace omniconv::conv {

BlockRange Partition::block(const Problem& p, int64_t task) const {
  BlockRange b;
  b.id = task / chunks;
  b.first_column = b.id % column_blocks * columns_per_block;
  b.first_row = b.id / column_blocks % row_blocks * rows_per_block;
  b.group = b.id / column_blocks / row_blocks;
  b.rows = std::min(rows_per_block, p.rows() - b.first_row);
  b.columns = std::min(columns_per_block, p.axis[2].out - b.first_column);
  return b;
}

Partition cut(const Problem& p, const Panels& panels, int threads, int64_t rows, int64_t columns) {
  Partition part;
  part.columns_per_block = columns;
  part.column_blocks = ceil_div(p.axis[2].out, columns);
  int64_t blocks = ceil_div(p.rows(), rows);
  const int64_t others = part.column_blocks * p.groups;
  // A few blocks are dealt out evenly; many need not be.
  if (threads > 1 && blocks * others < 8 * threads) {
    const int64_t even = ceil_div(blocks * others, threads) * threads / others;
    if (even > blocks && even <= p.rows() && ceil_div(p.rows(), even) * columns >= kFewPixels) blocks = even;
  }
  part.rows_per_block = std::max<int64_t>(1, ceil_div(p.rows(), std::max<int64_t>(1, blocks)));
  part.row_blocks = ceil_div(p.rows(), part.rows_per_block);
  const int64_t tasks = part.row_blocks * others;
  // Too few pixels for all threads: share out the channels of a block, each thread packing it for itself.
  const int64_t chunks = tasks < 2 * threads && threads > 1
                             ? std::min(panels.count(), ceil_div(4 * threads, std::max<int64_t>(1, tasks)))
                             : 1;
  part.panels_per_chunk = ceil_div(panels.count(), std::max<int64_t>(1, chunks));
  part.chunks = ceil_div(panels.count(), part.panels_per_chunk);
  part.tasks = tasks * part.chunks;
  return part;
}

void multiply_panel(const Kernels& kernels, const Windows& windows, int64_t pixels, int64_t k, int vectors,
                    const float* b, float* c, const Destination& destination, bool add, const float* next) {
  const int64_t tiles = ceil_div(pixels, kernels.tile_rows[vectors]), lanes = int64_t{vectors} * kernels.lanes;
  // Tiles of equal height: 25 pixels are 13 + 12, not 14 + 11, and no lane is wasted.
  const int64_t height = pixels / tiles, higher = pixels % tiles;
  int64_t done = 0;
  do {
    TileArgs args{};
    args.row_step = windows.row_step;
    args.element_step = windows.element_step;
    args.segment_length = windows.segment_length;
    args.segment = windows.segment_length > 0 ? done / windows.segment_length : 0;
    args.offset = done - args.segment * windows.segment_length;
    args.count = std::min(kSumBlock, k - done);
    args.b = b + done * lanes;
    args.add = add || done > 0;
    const float* const following = done + args.count < k ? args.b + args.count * lanes : next;
    int64_t pixel = 0;
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t rows = height + (t < higher);
      args.rows = windows.rows + pixel;
      args.c = c + pixel * lanes;
      args.fetch_later(following, t, tiles, lanes);
      args.touch_count = 0;
      if (destination.y && done + kSumBlock >= k) {
        args.touch = destination.y + pixel * destination.pixel;
        const bool by_channel = destination.channel == 1;  // one address per pixel, or one per channel
        args.touch_step = by_channel ? destination.pixel : destination.channel;
        args.touch_count = by_channel ? rows : destination.channels;
      }
      kernels.tile[vectors][rows](args);
      pixel += rows;
    }
    done += kSumBlock;
  } while (done < k);
}

Destination destination_of(const Problem& p, const Operands& m, int64_t first_pixel, int64_t pixels,
                           int64_t first_channel, int64_t channels) {
  const int64_t run = run_length(p, m.ys);
  if (first_pixel / run != (first_pixel + pixels - 1) / run) return {};
  return {m.y + offset_of(p, m.ys, first_pixel) + first_channel * m.ys.c, pixel_stride(p, m.ys), m.ys.c, channels};
}

void finish_block(const Kernels& kernels, const Problem& p, const Operands& m, int64_t first_pixel, int64_t pixels,
                  int64_t first_channel, int64_t channels, const float* c, int64_t panel) {
  int64_t run = run_length(p, m.ys);
  if (m.residual) run = std::min(run, run_length(p, m.rs));  // both divide the number of pixels in the same places
  FinishArgs args{};
  args.panel = panel;
  args.channels = channels;
  args.y_pixel = pixel_stride(p, m.ys);
  args.y_channel = m.ys.c;
  args.r_pixel = pixel_stride(p, m.rs);
  args.r_channel = m.rs.c;
  args.bias = m.bias ? m.bias + first_channel : nullptr;
  args.scale = m.scale ? m.scale + first_channel : nullptr;
  args.activation = m.activation;
  args.negative_slope = m.negative_slope;
  for (int64_t done = 0; done < pixels; done += args.pixels) {
    const int64_t pixel = first_pixel + done;
    args.pixels = std::min(pixels - done, run - pixel % run);
    args.c = c + done * panel;
    args.y = m.y + offset_of(p, m.ys, pixel) + first_channel * m.ys.c;
    args.residual = m.residual ? m.residual + offset_of(p, m.rs, pixel) + first_channel * m.rs.c : nullptr;
    kernels.finish(args);
  }
}

size_t packed_floats(const Kernels& kernels, const Problem& p) {
  return size_t(p.groups * Panels(p.co, kernels).size(p.k()));
}

namespace {

// Where element (ci, kd, kh, kw), in this order, of the weights goes in a panel of so many lanes.
std::vector<int64_t> panel_places(const Problem& p, int64_t lanes) {
  const int64_t depth = p.axis[0].taps, height = p.axis[1].taps, width = p.axis[2].taps;
  std::vector<int64_t> place(p.k());
  for (int64_t i = 0; i < p.k(); ++i) {
    const int64_t kw = i % width, kh = i / width % height, kd = i / width / height % depth, ci = i / p.taps();
    place[i] = (((kw * depth + kd) * height + kh) * p.ci + ci) * lanes;
  }
  return place;
}

}  // namespace

void pack_weights(const Kernels& kernels, const Problem& p, const float* weight, const WeightView& v, float* packed) {
  const Panels panels(p.co, kernels);
  const int64_t k = p.k(), last = panels.count() - 1;
  const Axis* axis = p.axis;
  // Weights in OIHW order have (ci, kd, kh, kw) contiguous: then all of k is one row of a transposition.
  const bool dense =
      v.tap[2] == 1 && v.tap[1] == axis[2].taps && v.tap[0] == axis[2].taps * axis[1].taps && v.ci == p.taps();
  const std::vector<int64_t> place = dense ? panel_places(p, panels.width) : std::vector<int64_t>();
  const std::vector<int64_t> place_last = dense ? panel_places(p, panels.lanes_of(last)) : std::vector<int64_t>();
  parallel_for(p.groups * panels.count(), [&](int64_t task, int) {
    const int64_t g = task / panels.count(), j = task % panels.count();
    const int64_t lanes = panels.lanes_of(j), used = panels.used(j);
    float* at = packed + g * panels.size(k) + j * panels.width * k;
    if (used < lanes) std::fill(at, at + lanes * k, 0.0f);
    const float* src = weight + v.offset + g * v.group + j * panels.width * v.co;
    if (dense && used == 1) {  // transposing would shuffle whole vectors for one lane of each
      const int64_t* to = (j == last ? place_last : place).data();
      for (int64_t i = 0; i < k; ++i) at[to[i]] = src[i];
      return;
    }
    if (dense) return kernels.pack({src, v.co, 1, used, k, &at, 1, lanes, (j == last ? place_last : place).data()});
    for (int64_t kw = 0; kw < axis[2].taps; ++kw)
      for (int64_t kd = 0; kd < axis[0].taps; ++kd)
        for (int64_t kh = 0; kh < axis[1].taps; ++kh, at += p.ci * lanes)
          kernels.pack({src + kd * v.tap[0] + kh * v.tap[1] + kw * v.tap[2], v.co, v.ci, used, p.ci, &at, 1, lanes});
  });
}

}  // namespace omniconv::conv
