// dfp16/product.cpp -- blocks of rows times panels of columns, over threads; every block is finished where it was made
#include "dfp16/product.hpp"

#include <algorithm>
#include <cstring>

#include "conv/kernels.hpp"
#include "core/thread_pool.hpp"

namespace omniconv::dfp16 {
namespace {

constexpr int64_t kBlockRows = 96;      // 16 tiles of 6, 8 of 12: a panel from L2 is used so often before the next
constexpr int64_t kTileBlockRows = 32;  // rows split into bytes at a time: 2 x 16
constexpr int64_t kTileSteps = 128;     // of 64 terms: 32 rows are 512 KiB, a part of L2
constexpr int64_t kTilePanels = 16;     // whose sums wait meanwhile
static_assert(kTileSteps <= kMostTileSteps);

struct Room {
  const int16_t** rows;
  int64_t *from, *to, *residual, *image;  // of every row: offset in source, destination, residual; index along grid[0]
  int64_t* sums;
  float* floats;
  int16_t* values;  // tiles: rows before they are split
  uint8_t* bytes;
};

int64_t block_rows(Form form) { return form == Form::tiles ? kTileBlockRows : kBlockRows; }
int64_t room_columns(Form form, const Kernels& k) { return form == Form::tiles ? kTilePanels * kTile : k.lanes; }

Room lay_out(Arena& arena, Form form, const Kernels& k) {
  const int64_t rows = block_rows(form), columns = room_columns(form, k);
  Room r{};
  r.rows = arena.take<const int16_t*>(rows);
  for (int64_t** p : {&r.from, &r.to, &r.residual, &r.image}) *p = arena.take<int64_t>(rows);
  r.sums = arena.take<int64_t>(rows * columns);
  r.floats = arena.take<float>(rows * columns);
  if (form != Form::tiles) return r;
  r.values = arena.take<int16_t>(kTile * kTileSteps * kTileDepth);
  r.bytes = arena.take<uint8_t>(rows / kTile * kTileSteps * kTileBytes);
  return r;
}

void locate(const ProductArgs& a, int64_t group, int64_t first, int64_t count, const Room& r) {
  const Shape& s = a.shape;
  const Destination& d = a.to;
  int64_t at[4], rest = first;
  for (int i = 3; i >= 0; --i) {
    at[i] = rest % s.grid[i];
    rest /= s.grid[i];
  }
  for (int64_t i = 0; i < count; ++i) {
    r.from[i] = group * s.source_group + s.last[size_t(at[3])];
    r.to[i] = group * d.group + at[3] * d.grid[3];
    r.residual[i] = group * d.residual_group + at[3] * d.residual_grid[3];
    r.image[i] = at[0];
    for (int axis = 0; axis < 3; ++axis) {
      r.from[i] += at[axis] * s.grid_step[axis];
      r.to[i] += at[axis] * d.grid[axis];
      r.residual[i] += at[axis] * d.residual_grid[axis];
    }
    r.rows[i] = a.source + r.from[i];
    for (int axis = 3; axis >= 0; --axis) {
      if (++at[axis] < s.grid[axis]) break;
      at[axis] = 0;
    }
  }
}

void store_integers(const ProductArgs& a, const Room& r, int64_t count, int64_t first, int64_t columns,
                    const int64_t* sums, int64_t row) {
  auto* y = static_cast<int64_t*>(a.to.data) + first * a.to.column;
  for (int64_t i = 0; i < count; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      const int64_t* s = sums + i * row + j;
      if (a.form == Form::digits) s = sums + i * row + j / a.kernels.width * a.kernels.lanes + j % a.kernels.width;
      y[r.to[i] + j * a.to.column] = a.form == Form::digits ? s[0] * 256 + s[a.kernels.width] : s[0];
    }
}

void scan(const ProductArgs& a, const float* y, int64_t pixels, int64_t step, int64_t columns, int worker) {
  if (!a.to.largest) return;
  int32_t most = a.to.largest[worker];
  for (int64_t j = 0; j < columns; ++j) most = std::max(most, a.kernels.max_bits(y + j * a.to.column, pixels, step));
  a.to.largest[worker] = most;
}

// Sums of `count` rows and `columns` columns from `first` on to where they belong.
void finish(const ProductArgs& a, const Room& r, int64_t group, int64_t count, int64_t first, int64_t columns,
            const int64_t* sums, int64_t row, int worker) {
  const Destination& d = a.to;
  const bool small = a.shape.terms() < int64_t{1} << 21;  // of products below 2^30 each, or just that
  if (d.integer) return store_integers(a, r, count, first, columns, sums, row);
  const int64_t channel = group * a.shape.columns + first, width = room_columns(a.form, a.kernels);
  for (int64_t i = 0; i < count; ++i) {
    const double scale = d.row_scale[r.image[i] * d.row_scale_step];
    const double* column_scale = d.column_scale ? d.column_scale + channel : nullptr;
    float* out = r.floats + i * width;
    if (a.spill) {
      for (int64_t j = 0; j < columns; ++j)
        out[j] = float(double(out[j]) * scale * (column_scale ? column_scale[j] : 1.0));
      continue;
    }
    a.kernels.to_float({sums + i * row, columns, a.form == Form::digits, small, scale, column_scale, out});
  }
  for (int64_t i = 0; i < count;) {  // rows at a constant distance in the output
    int64_t n = 1;
    const int64_t step = i + 1 < count ? r.to[i + 1] - r.to[i] : 1;
    const int64_t other = i + 1 < count ? r.residual[i + 1] - r.residual[i] : 1;
    while (i + n < count && r.to[i + n] - r.to[i + n - 1] == step && r.residual[i + n] - r.residual[i + n - 1] == other)
      ++n;
    conv::FinishArgs f{};
    f.c = r.floats + i * width;
    f.panel = width;
    f.pixels = n;
    f.channels = columns;
    f.y = static_cast<float*>(d.data) + r.to[i] + first * d.column;
    f.y_pixel = step;
    f.y_channel = d.column;
    f.residual = d.residual ? d.residual + r.residual[i] + first * d.residual_column : nullptr;
    f.r_pixel = other;
    f.r_channel = d.residual_column;
    f.bias = d.bias ? d.bias + channel : nullptr;
    f.scale = d.scale ? d.scale + channel : nullptr;
    f.activation = d.activation;
    f.negative_slope = d.negative_slope;
    conv::kernels().finish(f);
    scan(a, f.y, n, step, columns, worker);
    i += n;
  }
}

void multiply_pairs(const ProductArgs& a, const Room& r, int64_t group, int64_t count, int64_t panel, int64_t panels,
                    int worker) {
  const Kernels& k = a.kernels;
  const int64_t lanes = k.lanes, columns = panel_columns(a.form, k);
  const int64_t elements = a.shape.terms() * lanes;
  const int16_t* packed = a.packed + (group * panels + panel) * elements;
  const int64_t tiles = (count + k.tile_rows - 1) / k.tile_rows;
  for (int64_t t = 0; t < tiles; ++t) {  // of nearly one size
    const int64_t first = count * t / tiles, rows = count * (t + 1) / tiles - first;
    k.pairs[rows]({r.rows + first, a.segments, a.segment_count, packed, r.sums + first * lanes,
                   a.spill ? r.floats + first * lanes : nullptr});
  }
  const int64_t first = panel * columns;
  finish(a, r, group, count, first, std::min(columns, a.shape.columns - first), r.sums, lanes, worker);
}

// Elements [first, first + count) of the concatenated runs of one row.
void gather(const Shape& s, const int16_t* row, int64_t first, int64_t count, int16_t* to) {
  while (count > 0) {
    const int64_t run = first / s.run, at = first % s.run, n = std::min(count, s.run - at);
    std::memcpy(to, row + s.offsets[size_t(run)] + at, size_t(n) * sizeof(int16_t));
    to += n;
    first += n;
    count -= n;
  }
}

void multiply_tiles(const ProductArgs& a, const Room& r, int64_t group, int64_t count, int64_t panel, int64_t end,
                    int64_t panels, int worker) {
  const Shape& s = a.shape;
  const int64_t columns = kTilePanels * kTile, steps = s.column_row() / kTileDepth, terms = s.terms();
  std::fill_n(r.sums, kTileBlockRows * columns, int64_t{0});
  for (int64_t step = 0; step < steps; step += kTileSteps) {
    const int64_t first = step * kTileDepth, n = std::min(kTileSteps, steps - step);
    const int64_t length = std::min(terms - first, n * kTileDepth);
    for (int64_t block = 0; block < count; block += kTile) {
      for (int64_t i = 0; i < kTile; ++i)  // rows past the last repeat it
        gather(s, r.rows[std::min(block + i, count - 1)], first, length, r.values + i * kTileSteps * kTileDepth);
      uint8_t* bytes = r.bytes + block / kTile * kTileSteps * kTileBytes;
      a.tiles->split_rows(r.values, kTileSteps * kTileDepth, length, bytes);
    }
    for (int64_t p = panel; p < end; ++p) {
      const auto* b = reinterpret_cast<const uint8_t*>(a.packed) + ((group * panels + p) * steps + step) * kTileBytes;
      for (int64_t block = 0; block < count; block += kTile)
        a.tiles->multiply({r.bytes + block / kTile * kTileSteps * kTileBytes, b, n,
                           r.sums + block * columns + (p - panel) * kTile, columns});
    }
  }
  const int64_t first = panel * kTile;
  finish(a, r, group, count, first, std::min(end * kTile, s.columns) - first, r.sums, columns, worker);
}

}  // namespace

size_t product_room(const Shape&, Form form, const Kernels& k) {
  Arena arena;
  lay_out(arena, form, k);
  return arena.used();
}

void multiply(const ProductArgs& a) {
  const Shape& s = a.shape;
  const bool tiles = a.form == Form::tiles;
  const int64_t rows = s.rows(), columns = panel_columns(a.form, a.kernels);
  const int64_t panels = (s.columns + columns - 1) / columns;
  const int64_t wanted = 8 * a.threads;  // tasks, so that the last ones end together
  const int64_t unit = tiles ? kTile : a.kernels.tile_rows;
  int64_t block = block_rows(a.form) / unit * unit;
  while (block > unit && s.groups * ((rows + block - 1) / block) * panels < wanted)
    block = (block / unit + 1) / 2 * unit;
  const int64_t blocks = (rows + block - 1) / block;
  // Rows are located (and for tiles split) once for several panels, where there are tasks enough.
  int64_t together = tiles ? kTilePanels : 8;
  while (together > 1 && s.groups * blocks * ((panels + together - 1) / together) < wanted) together /= 2;
  const int64_t bundles = (panels + together - 1) / together;
  const size_t room = product_room(s, a.form, a.kernels);
  parallel_for(s.groups * blocks * bundles, a.threads, [&](int64_t task, int worker) {
    Arena arena(a.room + size_t(worker) * room);
    const Room r = lay_out(arena, a.form, a.kernels);
    const int64_t group = task / (blocks * bundles), bundle = task / blocks % bundles, b = task % blocks;
    const int64_t first = rows * b / blocks, count = rows * (b + 1) / blocks - first;
    const int64_t panel = bundle * together, end = std::min(panels, panel + together);
    locate(a, group, first, count, r);
    if (tiles) {
      a.tiles->configure();
      multiply_tiles(a, r, group, count, panel, end, panels, worker);
      a.tiles->release();
      return;
    }
    for (int64_t p = panel; p < end; ++p) multiply_pairs(a, r, group, count, p, panels, worker);
  });
}

}  // namespace omniconv::dfp16
