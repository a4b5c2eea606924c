// conv/winograd_nest.cpp -- Winograd convolution, fused: a block of tiles is transformed, multiplied and transformed
// back while it is in cache
//
// Per block of T tiles: rows of input are laid out channels last (border, layout and stride absorbed), transformed to
// V [frequency][tile][k]; then for every panel of output channels, C [frequency][tile][lanes] = V U on the common
// register tile, and back through A^T into pixels, epilogue and store. Nothing but input, U and output goes through
// memory: transforms that do cost more than the multiplications saved.
// A tile that holds infinity, NaN or magnitudes beyond 2^60 would spread them over its neighbours: its outputs are
// computed as im2win does. What that takes is a function of the tile alone.
#include <algorithm>
#include <bit>
#include <cstring>

#include "conv/winograd.hpp"
#include "core/thread_pool.hpp"

namespace omniconv::conv {
namespace {

constexpr size_t kBudget = size_t{5} << 18;  // V of a block: 1.25 MiB of 2 MiB L2; half of it in L3 is no slower
constexpr int64_t kMinTiles = 12, kMaxTiles = 84;

// A transformed block.
struct Spectrum {
  float* v;
  const float** rows;  // [frequency][tile] of v
  uint8_t* unusual;    // per tile
  size_t bytes;

  Spectrum(const Tiling& t, const Partition& part, char* at) {
    char* const base = at;
    const int64_t tiles = part.max_pixels();
    take(at, v, t.frequencies() * t.frequency_stride(tiles));
    take(at, rows, t.frequencies() * tiles);
    take(at, unusual, tiles);
    bytes = size_t(at - base);
  }
};

// What a worker needs beside it.
struct Scratch {
  float *strip, *c, *y, *windows;
  const float** rows;
  char* copies;
  size_t bytes;

  Scratch(const Tiling& t, const Kernels& k, const Partition& part, char* at) {
    const WindowRows strips(t.strips, false), plain(t.p);
    const int64_t width = int64_t{k.lanes} * k.tile_vectors;
    char* const base = at;
    const int64_t rows_in = t.rows_of(part.rows_per_block);
    take(at, strip, rows_in * strips.row_floats(t.groups_of(part.columns_per_block)));
    take(at, c, t.frequencies() * part.max_pixels() * width);
    take(at, y, t.v.m_h * part.columns_per_block * t.v.m_w * width);
    take(at, windows, plain.row_floats(t.v.m_w));
    take(at, rows, t.v.m_w);
    take(at, copies, std::max(strips.copy_bytes(rows_in), plain.copy_bytes(1)));
    bytes = size_t(at - base);
  }
};

class Nest {
 public:
  Nest(const Run& run, const Tiling& tiling, const WinogradBlocks& blocks)
      : run_(run),
        t_(tiling),
        p_(run.problem),
        k_(run.target.kernels),
        blocks_(blocks),
        part_(blocks.part),
        strips_(tiling.strips, false),
        plain_(run.problem),
        panels_(p_.co, k_),
        extra_(run.packed + packed_floats_aligned(k_, p_)),
        spectrum_bytes_(Spectrum(t_, part_, nullptr).bytes),
        scratch_bytes_(Scratch(t_, k_, part_, nullptr).bytes) {
    std::memcpy(&unusual_weights_, extra_, sizeof unusual_weights_);
  }

  void run() const {
    const int threads = run_.target.threads;
    const int64_t tasks = p_.groups * blocks_.count(), panels = panels_.count();
    if (blocks_.shared) {
      // Neighbouring rows share input, so no more pieces than every thread needs to find two.
      const int64_t rows = ceil_div(part_.rows_per_block, ceil_div(2 * threads, tasks));
      const int64_t pieces = ceil_div(part_.rows_per_block, rows);
      parallel_for(tasks * pieces, threads, [&](int64_t task, int worker) {
        const BlockRange block = block_of(task / pieces);
        const int64_t first = task % pieces * rows;
        transform(block, spectrum(block.id), scratch(worker), first, std::min(first + rows, block.rows));
      });
      return parallel_for(tasks * panels, threads, [&](int64_t task, int worker) {
        const BlockRange block = block_of(task / panels);
        multiply_back(block, spectrum(block.id), scratch(worker), task % panels, task % panels + 1);
      });
    }
    parallel_for(tasks, threads, [&](int64_t task, int worker) {
      const BlockRange block = block_of(task);
      const Spectrum own = spectrum(worker);
      const Scratch s = scratch(worker);
      transform(block, own, s, 0, block.rows);
      multiply_back(block, own, s, 0, panels);
    });
  }

 private:
  // Outputs of tiles [column, column + columns) of row r of the block.
  struct Outputs {
    int64_t pixel, rows, columns;
  };
  Outputs outputs_of(const BlockRange& block, int64_t r, int64_t column, int64_t columns) const {
    const int64_t row = block.first_row + r, height = p_.axis[1].out, width = p_.axis[2].out;
    const int64_t slice = row / t_.tiles.axis[1].out, h = row % t_.tiles.axis[1].out * t_.v.m_h,
                  w = (block.first_column + column) * t_.v.m_w;
    return {(slice * height + h) * width + w, std::min<int64_t>(t_.v.m_h, height - h),
            std::min(columns * t_.v.m_w, width - w)};
  }

  BlockRange block_of(int64_t id) const { return part_.block(t_.tiles, id * part_.chunks); }
  Scratch scratch(int worker) const { return {t_, k_, part_, run_.workspace + worker * scratch_bytes_}; }
  // Of a block where they are shared, else of a worker.
  Spectrum spectrum(int64_t which) const {
    return {t_, part_, run_.workspace + run_.target.threads * scratch_bytes_ + which * spectrum_bytes_};
  }

  // V of rows [r, end) of a block, and which of their tiles hold unusual values.
  void transform(const BlockRange& block, const Spectrum& to, const Scratch& s, int64_t r, int64_t end) const {
    const int64_t groups = t_.groups_of(block.columns), length = strips_.row_floats(groups);
    while (r < end) {  // rows of one slice of the input at a time
      const int64_t row = block.first_row + r, per_slice = t_.tiles.axis[1].out;
      const int64_t first = row / per_slice * t_.strips.axis[1].out + row % per_slice * t_.v.m_h;
      const int64_t count = std::min(end - r, per_slice - row % per_slice);
      strips_.lay_out<float>({k_.pack, s.strip, reinterpret_cast<WindowRows::Copy<float>*>(s.copies)}, run_.memory,
                             block.group, first, t_.rows_of(count), block.first_column * t_.v.m_w, groups);
      const bool unusual = has_unusual(s.strip, t_.rows_of(count) * length);
      for (int64_t i = 0; i < count; ++i, ++r)
        transform_row(block, to, s.strip + i * t_.v.m_h * length, length, unusual, r);
    }
  }

  void transform_row(const BlockRange& block, const Spectrum& to, const float* strip, int64_t length, bool unusual,
                     int64_t r) const {
    uint8_t* flags = to.unusual + r * block.columns;
    std::memset(flags, 0, size_t(block.columns));
    for (int64_t c = 0; c < block.columns && unusual; ++c)
      for (int64_t i = 0; i < t_.v.n_h(); ++i)
        flags[c] |= has_unusual(strip + i * length + c * t_.v.m_w * t_.k, t_.v.n_w() * t_.k);
    const int64_t stride = t_.frequency_stride(block.pixels());
    float* v = to.v + r * block.columns * t_.k_stride;
    t_.kernels.input({strip, length, t_.k, t_.v.m_w * t_.k, v, stride, t_.k_stride, block.columns, t_.k});
    for (int64_t f = 0; f < t_.frequencies(); ++f)
      for (int64_t c = 0; c < block.columns; ++c)
        to.rows[f * block.pixels() + r * block.columns + c] = v + f * stride + c * t_.k_stride;
  }

  void multiply_back(const BlockRange& block, const Spectrum& from, const Scratch& s, int64_t first,
                     int64_t end) const {
    for (int64_t j = first; j < end && !unusual_weights_; ++j) {
      multiply(block, from, s.c, j);
      for (int64_t r = 0; r < block.rows; ++r) transform_back(block, s, j, r);
    }
    for (int64_t i = 0; i < block.pixels(); ++i) {
      if (!unusual_weights_ && !from.unusual[i]) continue;
      const Outputs to = outputs_of(block, i / block.columns, i % block.columns, 1);
      for (int64_t h = 0; h < to.rows; ++h) redo_row(block, s, first, end, to.pixel + h * p_.axis[2].out, to.columns);
    }
  }

  // c of one panel.
  void multiply(const BlockRange& block, const Spectrum& from, float* c, int64_t panel) const {
    const int64_t lanes = panels_.lanes_of(panel), tiles = block.pixels();
    const int64_t count = ceil_div(tiles, k_.tile_rows[panels_.vectors(panel)]), height = tiles / count,
                  higher = tiles % count;
    const TileFn* tile = k_.tile[panels_.vectors(panel)];
    const int64_t size = t_.frequencies() * t_.k;
    TileArgs args{};
    args.segment_length = args.count = t_.k;
    args.sum_block = t_.sum_block();
    args.b = extra_ + kWinogradFlagFloats + block.group * panels_.size(size) + panel * panels_.width * size;
    args.rows = from.rows;
    args.c = c;
    for (int64_t f = 0; f < t_.frequencies(); ++f, args.b += t_.k * lanes)
      for (int64_t i = 0; i < count; ++i) {
        const int64_t rows = height + (i < higher);
        args.fetch_later(args.b + t_.k * lanes, i, count, lanes);
        tile[rows](args);
        args.rows += rows;
        args.c += rows * lanes;
      }
  }

  void transform_back(const BlockRange& block, const Scratch& s, int64_t panel, int64_t r) const {
    const int64_t lanes = panels_.lanes_of(panel);
    const Outputs to = outputs_of(block, r, 0, block.columns);
    t_.kernels.output(
        {s.c + r * block.columns * lanes, block.pixels() * lanes, s.y, lanes, block.columns, to.rows, to.columns});
    const bool whole = to.columns == p_.axis[2].out;  // rows follow each other
    for (int64_t h = 0; h < (whole ? 1 : to.rows); ++h)
      finish(block, s.y + h * to.columns * lanes, panel, to.pixel + h * p_.axis[2].out,
             whole ? to.rows * to.columns : to.columns);
  }

  void finish(const BlockRange& block, const float* sums, int64_t panel, int64_t pixel, int64_t pixels) const {
    finish_block(k_, p_, run_.memory, pixel, pixels, block.group * p_.co + panel * panels_.width, panels_.used(panel),
                 sums, panels_.lanes_of(panel));
  }

  // A few outputs of one row, from their windows.
  void redo_row(const BlockRange& block, const Scratch& s, int64_t first, int64_t end, int64_t pixel,
                int64_t pixels) const {
    plain_.lay_out<float>({k_.pack, s.windows, reinterpret_cast<WindowRows::Copy<float>*>(s.copies)}, run_.memory,
                          block.group, pixel / p_.axis[2].out, 1, pixel % p_.axis[2].out, pixels);
    for (int64_t w = 0; w < pixels; ++w) s.rows[w] = s.windows + w * plain_.step * plain_.column_stride;
    for (int64_t j = first; j < end; ++j) {
      const float* b = run_.packed + block.group * panels_.size(p_.k()) + j * panels_.width * p_.k();
      multiply_panel(k_, plain_.windows(s.rows), pixels, p_.k(), panels_.vectors(j), b, s.y, {});
      finish(block, s.y, j, pixel, pixels);
    }
  }

  const Run& run_;
  const Tiling& t_;
  const Problem& p_;
  const Kernels& k_;
  const WinogradBlocks& blocks_;
  const Partition& part_;
  WindowRows strips_, plain_;
  Panels panels_;
  const float* extra_;
  size_t spectrum_bytes_, scratch_bytes_;
  uint32_t unusual_weights_ = 0;
};

}  // namespace

Tiling::Tiling(const Problem& problem, const Kernels& k, int variant)
    : p(problem), v(kWinogradVariants[variant]), kernels(k.winograd[variant]), strips(problem), tiles(problem) {
  const int m[2] = {v.m_h, v.m_w}, r[2] = {v.r_h, v.r_w};
  for (int i = 0; i < 2; ++i) {
    const Axis& a = p.axis[1 + i];
    const int64_t count = ceil_div(a.out, m[i]);
    tiles.axis[1 + i].out = count;
    strips.axis[1 + i] = {a.in, count * m[i] + r[i] - 1, a.taps == 1 ? 1 : a.stride, a.stride, 1, a.lo};
  }
  this->k = strips.k();
  k_stride = ceil_div(this->k, 16) * 16;
  if (k_stride % 1024 == 0) k_stride += 16;  // as WindowRows::column_stride
}

WinogradBlocks::WinogradBlocks(const Tiling& t, Target target) {
  const int64_t columns = t.tiles.axis[2].out, rows = t.tiles.rows();
  const int64_t fit = int64_t(kBudget / (t.frequencies() * t.k_stride * sizeof(float)));
  const int64_t most = std::clamp(fit, kMinTiles, kMaxTiles);
  const int64_t width = ceil_div(columns, ceil_div(columns, most));
  const int64_t height = width < columns ? 1 : std::clamp<int64_t>(most / width, 1, std::max<int64_t>(rows, 1));
  part = cut(t.tiles, Panels(t.p.co, target.kernels), 1, height, width);
  shared = target.threads > 1 && t.p.groups == 1 && count() < 4 * target.threads;
}

size_t winograd_worker_bytes(const Tiling& t, Target target) {
  const WinogradBlocks blocks(t, target);
  return Spectrum(t, blocks.part, nullptr).bytes + Scratch(t, target.kernels, blocks.part, nullptr).bytes;
}

size_t winograd_workspace(const Tiling& t, Target target) {
  const WinogradBlocks blocks(t, target);
  const int64_t spectra = blocks.shared ? blocks.count() : target.threads;
  return target.threads * Scratch(t, target.kernels, blocks.part, nullptr).bytes +
         spectra * Spectrum(t, blocks.part, nullptr).bytes;
}

void run_winograd(const Run& run, const Tiling& t) { Nest(run, t, WinogradBlocks(t, run.target)).run(); }

bool has_unusual(const float* values, int64_t count) {
  uint32_t any = 0;
  for (int64_t i = 0; i < count; ++i) any |= (std::bit_cast<int32_t>(values[i]) & 0x7fffffff) > kLargestUsual;
  return any != 0;
}

}  // namespace omniconv::conv
