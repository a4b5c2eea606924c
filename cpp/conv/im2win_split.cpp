// conv/im2win_split.cpp -- im2win with every float32 as three bfloat16 parts, multiplied by the matrix unit
//
// The same windows as im2win's, laid out as parts; see split.inl.hpp for the arithmetic. A window that holds a value
// the parts cannot stand for (tiny, huge, infinite, NaN) is multiplied again as float32: that window and no other, for
// the bits of an output must not depend on what shares its block.
#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "conv/forward.hpp"
#include "conv/im2win_rows.hpp"

namespace omniconv::conv {
namespace {

constexpr size_t kBudget = size_t{1} << 20;
constexpr size_t kLimit = size_t{7} << 18;
constexpr int64_t kChunk = 32;     // elements of k that one tile product takes
constexpr int64_t kTileRows = 16;  // pixels
constexpr int64_t kStepsTogether =
    8;  // chunks whose weights (6 KiB each for 32 channels) stay in L1 for all pixels of a block
constexpr int64_t kOverhang = 32;  // the last window's last chunk may reach so far past it

// Tiles of one row of outputs: equally high, the last one overlapping its neighbour. 54 outputs are 4 tiles of 14.
struct RowTiles {
  int64_t count, height;
  explicit RowTiles(int64_t outputs) : count(ceil_div(outputs, kTileRows)), height(ceil_div(outputs, count)) {}
  int64_t first(int64_t tile, int64_t outputs) const { return std::min(tile * height, outputs - height); }
};

struct Shape {
  WindowRows rows;
  int64_t segments, length, step;  // of a window: one segment, or one per kw
  explicit Shape(const Problem& p) : rows(p, false) {
    const Windows w = rows.windows(nullptr);
    length = w.segment_length;
    segments = p.k() / length;
    step = w.element_step;
  }
  int64_t chunks() const { return ceil_div(length, kChunk); }
  int64_t padded_k() const { return segments * chunks() * kChunk; }
};

// Packed: one line of flags, then for every group and panel [segment][chunk][part][16 channels][16 pairs][16][2].
constexpr int64_t kFlagFloats = 16;

size_t extra_floats(const Problem& p, const Kernels& k) {
  if (!k.split) return 0;
  const Shape shape(p);
  return kFlagFloats + size_t(p.groups) * Panels(p.co, k).size(shape.padded_k()) * 3 / 2;
}

void pack_extra(const Problem& p, const Kernels& k, const float* packed, float* extra) {
  const Panels panels(p.co, k);
  const Shape shape(p);
  std::vector<uint32_t> unusual(size_t(p.groups * panels.count()));
  parallel_for(p.groups * panels.count(), [&](int64_t task, int) {
    const int64_t g = task / panels.count(), j = task % panels.count(), lanes = panels.lanes_of(j);
    const float* from = packed + g * panels.size(p.k()) + j * panels.width * p.k();
    auto* to = reinterpret_cast<Part*>(extra + kFlagFloats) +
               3 * (g * panels.size(shape.padded_k()) + j * panels.width * shape.padded_k());
    for (int64_t s = 0; s < shape.segments; ++s)
      unusual[task] |= k.split->pack_weights(from + s * shape.length * lanes, shape.length, lanes,
                                             to + s * shape.chunks() * kChunk * lanes * 3);
  });
  uint32_t any = 0;
  for (uint32_t u : unusual) any |= u;
  std::memset(extra, 0, kFlagFloats * sizeof(float));
  std::memcpy(extra, &any, sizeof any);
}

size_t parts_bytes(const Shape& s, int64_t rows, int64_t columns) {
  return (3 * rows * s.rows.row_floats(columns) + kOverhang) * sizeof(Part);
}

// Memory of a worker, in order: sums, finished and on the way, pointers and copies, then parts or, for an unusual
// block, float32 windows.
struct Memory {
  float* sums;
  float* partial;
  const float** pointers;
  void* copies;
  char* windows;
  size_t bytes;
  Memory(const Problem& p, const Kernels& k, const Partition& part, char* at) {
    const Shape shape(p);
    const WindowRows plain(p);
    char* const base = at;
    auto take = [&](size_t size) {
      char* here = at;
      at += align64(size);
      return here;
    };
    sums = reinterpret_cast<float*>(take(part.max_pixels() * k.lanes * k.tile_vectors * sizeof(float)));
    const RowTiles tiles(part.columns_per_block);
    partial = reinterpret_cast<float*>(
        take(part.rows_per_block * tiles.count * tiles.height * k.lanes * k.tile_vectors * sizeof(float)));
    pointers = reinterpret_cast<const float**>(take(part.max_pixels() * sizeof(float*)));
    copies = take(plain.copy_bytes(part.rows_per_block));
    windows = take(std::max(parts_bytes(shape, part.rows_per_block, part.columns_per_block),
                            part.rows_per_block * plain.row_floats(part.columns_per_block) * sizeof(float)));
    bytes = size_t(at - base);
  }
};

Partition partition_of(const Problem& p, Target t) {
  const Shape shape(p);
  return partition(p, Panels(p.co, t.kernels), t.threads, kBudget,
                   [&](int64_t columns) { return parts_bytes(shape, 1, columns) + shape.rows.copy_bytes(1); });
}

std::string decline(const Problem& p, Layout) {
  if (p.axis[2].dilation > 1 && p.ci < kChunk) return "dilated windows of fewer than 32 channels waste the matrix unit";
  const Shape shape(p);
  const double bytes =
      double(shape.rows.column_stride) * p.axis[2].window() * 3 * sizeof(Part) + double(shape.rows.copy_bytes(1));
  if (bytes <= double(kLimit)) return "";
  return "one window takes " + std::to_string(int64_t(bytes)) + " bytes; a block holds " + std::to_string(kLimit);
}

size_t workspace(const Problem& p, Target t) {
  // Room for a base that is not aligned is not needed: every part of a worker's memory is a multiple of 64 bytes.
  return t.threads * Memory(p, t.kernels, partition_of(p, t), nullptr).bytes;
}

double cost(const Problem& p, Layout, Target t) {
  const Shape shape(p);
  const RowTiles tiles(p.axis[2].out);
  const Panels panels(p.co, t.kernels);
  // Four chains of products: each product takes as many cycles as its tile has rows, but a chain waits 12 for the last.
  // The factor is what loads of tiles add. On layers 5, 8, 9 and 11 of the im2win papers, batch 16, a shared machine of
  // two Sapphire Rapids class cores: 1.5-1.8 with one thread and little else running, where this is 1.5-1.6 times as
  // fast as im2win; 4.4-5.1 with two threads, where it is 0.7-0.9 times as fast. The choice must not follow the
  // threads; 3.85 lies between and leaves these layers to im2win.
  const double products =
      double(p.rows()) * tiles.count * p.groups * double(panels.size(1)) / 16 * (shape.padded_k() / 32.0) * 6;
  const double floats = double(p.rows()) * p.groups * shape.rows.row_floats(p.axis[2].out);
  return (products * std::max(double(tiles.height), 12.0) * 3.85 + floats) / t.threads + finish_cycles(p, t);
}

class SplitNest {
 public:
  SplitNest(const Run& run, const Partition& part)
      : run_(run),
        part_(part),
        p_(run.problem),
        k_(run.target.kernels),
        shape_(p_),
        panels_(p_.co, k_),
        extra_(run.packed + packed_floats_aligned(k_, p_)) {
    std::memcpy(&unusual_weights_, extra_, sizeof unusual_weights_);
    each_ = Memory(p_, k_, part_, nullptr).bytes;
  }

  void task(int64_t task, int worker) const {
    const Memory memory(p_, k_, part_, run_.workspace + worker * each_);
    const BlockRange block = part_.block(p_, task);
    const int64_t first = part_.first_panel(task), end = std::min(first + part_.panels_per_chunk, panels_.count());
    if (unusual_weights_) return as_float32(block, memory, first, end);
    const bool usual = lay_out_parts(block, memory);
    const RowTiles tiles(block.columns);
    k_.split->configure(int(tiles.height));
    for (int64_t j = first; j < end; ++j) {
      multiply(block, memory, tiles, j);
      finish(block, memory, j, 0, block.pixels());
    }
    k_.split->release();
    if (!usual) as_float32(block, memory, first, end);
  }

 private:
  int64_t first_pixel(const BlockRange& b) const { return b.first_row * p_.axis[2].out + b.first_column; }
  int64_t plane(const BlockRange& b) const { return b.rows * shape_.rows.row_floats(b.columns); }

  bool lay_out_parts(const BlockRange& block, const Memory& memory) const {
    uint32_t unusual = 0;
    auto* parts = reinterpret_cast<Part*>(memory.windows);
    WindowRows::Target<Part> to{k_.split->pack, parts, static_cast<WindowRows::Copy<Part>*>(memory.copies),
                                plane(block), &unusual};
    shape_.rows.lay_out(to, run_.memory, block.group, block.first_row, block.rows, block.first_column, block.columns);
    std::fill_n(parts + 3 * plane(block), kOverhang, Part{});  // met by zero weights, it must only be finite
    return unusual == 0;
  }

  void multiply(const BlockRange& block, const Memory& memory, const RowTiles& tiles, int64_t panel) const {
    const int64_t lanes = panels_.lanes_of(panel), count = block.rows * tiles.count;
    const int64_t steps = shape_.segments * shape_.chunks();
    const Destination to = destination_of(p_, run_.memory, first_pixel(block), block.pixels(),
                                          block.group * p_.co + panel * panels_.width, panels_.used(panel));
    SplitTileArgs args{};
    args.a_plane = plane(block);
    args.a_step = shape_.rows.step * shape_.rows.column_stride;
    args.segment_step = shape_.step;
    args.chunks = shape_.chunks();
    args.b = reinterpret_cast<const Part*>(extra_ + kFlagFloats) +
             3 * (block.group * panels_.size(shape_.padded_k()) + panel * panels_.width * shape_.padded_k());
    args.b_tiles = int(lanes / 16);
    args.c_stride = lanes;
    for (args.first = 0; args.first < steps; args.first += kStepsTogether) {
      args.count = std::min(kStepsTogether, steps - args.first);
      const bool last = args.first + args.count == steps;
      for (int64_t t = 0; t < count; t += 2) {
        for (int64_t i = 0; i < 2; ++i) set_tile(args, int(i), t + i, last, block, memory, tiles, lanes);
        const bool by_channel = to.channel == 1;
        args.touch =
            to.y ? to.y + (t / tiles.count * block.columns + tiles.first(t % tiles.count, block.columns)) * to.pixel
                 : nullptr;
        args.touch_step = by_channel ? to.pixel : to.channel;
        args.touch_count = !to.y || !last ? 0 : by_channel ? tiles.height : to.channels;
        k_.split->multiply(args);
      }
    }
  }

  // Tiles overlap, so sums on the way are kept tile by tile; only finished ones go to the place of their pixels.
  void set_tile(SplitTileArgs& args, int i, int64_t tile, bool last, const BlockRange& block, const Memory& memory,
                const RowTiles& tiles, int64_t lanes) const {
    args.a[i] = nullptr;
    if (tile >= block.rows * tiles.count) return;
    const int64_t r = tile / tiles.count, w = tiles.first(tile % tiles.count, block.columns);
    float* own = memory.partial + tile * tiles.height * lanes;
    args.a[i] =
        reinterpret_cast<const Part*>(memory.windows) + r * shape_.rows.row_floats(block.columns) + w * args.a_step;
    args.from[i] = args.first > 0 ? own : nullptr;
    args.c[i] = last ? memory.sums + (r * block.columns + w) * lanes : own;
  }

  // The sums of `pixels` pixels from `first` of the block on.
  void finish(const BlockRange& block, const Memory& memory, int64_t panel, int64_t first, int64_t pixels) const {
    finish_block(k_, p_, run_.memory, first_pixel(block) + first, pixels, block.group * p_.co + panel * panels_.width,
                 panels_.used(panel), memory.sums, panels_.lanes_of(panel));
  }

  static bool is_unusual(const float* values, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t magnitude = std::bit_cast<uint32_t>(values[i]) & 0x7fffffff;
      if (magnitude && magnitude - kSplitLowest > kSplitHighest - kSplitLowest) return true;
    }
    return false;
  }

  bool is_unusual(const Windows& windows, const float* window) const {
    for (int64_t i = 0, s = 0; i < p_.k(); i += windows.segment_length, ++s)
      if (is_unusual(window + s * windows.element_step, windows.segment_length)) return true;
    return false;
  }

  // All pixels of a block if weights are unusual, else those with unusual windows.
  void as_float32(const BlockRange& block, const Memory& memory, int64_t first, int64_t end) const {
    const WindowRows plain(p_);
    auto* buffer = reinterpret_cast<float*>(memory.windows);
    plain.lay_out<float>({k_.pack, buffer, static_cast<WindowRows::Copy<float>*>(memory.copies)}, run_.memory,
                         block.group, block.first_row, block.rows, block.first_column, block.columns);
    const Windows shape = plain.windows(nullptr);
    auto window = [&](int64_t i) {
      return buffer + i / block.columns * plain.row_floats(block.columns) +
             i % block.columns * plain.step * plain.column_stride;
    };
    auto taken = [&](int64_t i) { return i < block.pixels() && (unusual_weights_ || is_unusual(shape, window(i))); };
    for (int64_t i = 0; i < block.pixels(); ++i) {
      int64_t count = 0;  // consecutive pixels
      for (; taken(i + count); ++count) memory.pointers[count] = window(i + count);
      if (count == 0) continue;
      for (int64_t j = first; j < end; ++j) {
        multiply_panel(k_, plain.windows(memory.pointers), count, p_.k(), panels_.vectors(j),
                       run_.packed + block.group * panels_.size(p_.k()) + j * panels_.width * p_.k(), memory.sums, {});
        finish(block, memory, j, i, count);
      }
      i += count;
    }
  }

  const Run& run_;
  const Partition& part_;
  const Problem& p_;
  const Kernels& k_;
  Shape shape_;
  Panels panels_;
  const float* extra_;
  uint32_t unusual_weights_ = 0;
  size_t each_ = 0;
};

void run(const Run& r) {
  const Partition part = partition_of(r.problem, r.target);
  const SplitNest nest(r, part);
  parallel_for(part.tasks, r.target.threads, [&](int64_t task, int worker) { nest.task(task, worker); });
}

}  // namespace

const Algorithm kIm2winSplit = {"im2win_split",
                                "im2win on the matrix unit, float32 as three bfloat16 parts",
                                decline,
                                workspace,
                                cost,
                                run,
                                extra_floats,
                                pack_extra,
                                nullptr,
                                true,
                                true};

}  // namespace omniconv::conv
