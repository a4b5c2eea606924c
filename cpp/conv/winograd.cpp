// conv/winograd.cpp -- Winograd convolution, fused: a block of tiles is transformed, multiplied and transformed back
// in memory of the thread
//
// Per block of T tiles: rows of input are laid out channels last (border, layout and stride absorbed), transformed to
// V [frequency][tile][k]; then for every panel of output channels, C [frequency][tile][lanes] = V U on the common
// register tile, and back through A^T into pixels, epilogue and store. Nothing but input, U and output goes through
// memory: transforms that do cost more than the multiplications saved.
// A stride of s is taken out first: outputs with stride s are a stride-1 convolution over s * s times the channels (the
// phases of the input) with kernels of ceil(r / s) taps. 7 x 7 with stride 2 is F(3x3, 4x4), 11 x 11 with stride 4
// F(2x4, 3x3). Depth taps are channels likewise.
//
// Error. A tile's rounding errors are relative to the whole tile, not to one output, and grow with the tile; in return
// a sum has k terms where direct summation has k * r * r. For `highest` the sums are cut every kWinogradSumBlock terms,
// and a tile is taken only where its error stays below that of one float32 chain over the window (plain_error). Points
// decide too: see cook_toom.hpp. A tile that holds infinity, NaN or magnitudes beyond 2^60 would spread them over its
// neighbours: its outputs are computed as im2win does. What that takes is a function of the tile alone.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "conv/forward.hpp"
#include "conv/im2win_rows.hpp"

namespace omniconv::conv {
namespace {

constexpr int64_t kWinogradSumBlock = 16;
constexpr size_t kBudget = size_t{5} << 18;  // V of a block
constexpr size_t kLimit = size_t{1} << 25;   // memory of a worker beyond which the others serve
constexpr int64_t kMinTiles = 12, kMaxTiles = 84;
constexpr int64_t kFlagFloats = 16;  // one line before U: nonzero if a weight is unusual
constexpr uint32_t kUnusual = uint32_t(127 + 60) << 23;

// Relative L2 error of `terms` normal terms in one float32 chain: 1.78e-8 sqrt(terms), measured for 16 to 4608.
double plain_error(int64_t terms) { return 1.78e-8 * std::sqrt(double(terms)); }

bool is_unusual(const float* values, int64_t count) {
  uint32_t any = 0;
  for (int64_t i = 0; i < count; ++i) any |= (std::bit_cast<uint32_t>(values[i]) & 0x7fffffff) > kUnusual;
  return any != 0;
}

int64_t taps_per_phase(const Axis& a) { return ceil_div(a.taps, a.stride); }

// A variant on a problem.
struct Tiling {
  const Problem& p;
  const WinogradVariant& v;
  const WinogradKernels& kernels;
  Problem strips;  // what lies under an output: stride_h x stride_w inputs of every channel
  Problem tiles;   // its outputs are tiles
  int64_t k, k_stride;

  Tiling(const Problem& problem, const Kernels& k, int variant)
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

  int64_t frequencies() const { return v.frequencies(); }
  int64_t groups_of(int64_t columns) const { return columns * v.m_w + v.r_w - 1; }
  int64_t frequency_stride(int64_t tiles) const {
    const int64_t floats = tiles * k_stride;
    return floats % 256 == 0 ? floats + 16 : floats;  // or the 36 stores of a tile would share a few sets of L1
  }
  int64_t sum_block() const { return p.precision == Precision::highest ? kWinogradSumBlock : kSumBlock; }
  double tile_count() const { return double(tiles.rows()) * double(tiles.axis[2].out); }
};

Partition partition_of(const Tiling& t, Target target) {
  const int64_t columns = t.tiles.axis[2].out, rows = t.tiles.rows();
  const int64_t fit = int64_t(kBudget / (t.frequencies() * t.k_stride * sizeof(float)));
  const int64_t most = std::clamp(fit, kMinTiles, kMaxTiles);
  const int64_t width = ceil_div(columns, ceil_div(columns, most));
  const int64_t height = width < columns ? 1 : std::clamp<int64_t>(most / width, 1, std::max<int64_t>(rows, 1));
  return cut(t.tiles, Panels(t.p.co, target.kernels), target.threads, height, width, kMinTiles);
}

// Memory of a worker.
struct Memory {
  struct State {
    int64_t block = -1;  // the block whose V is there
    bool usual = true;
  };
  State* state;
  float *strip, *v, *c, *y, *windows;
  const float** rows;
  void* copies;
  uint8_t* unusual;  // per tile
  size_t bytes;

  Memory(const Tiling& t, const Kernels& k, const Partition& part, char* at) {
    const WindowRows strips(t.strips, false), plain(t.p);
    const int64_t count = part.max_pixels(), width = int64_t{k.lanes} * k.tile_vectors;
    char* const base = at;
    auto take = [&]<class T>(T*& to, size_t items) {
      to = reinterpret_cast<T*>(at);
      at += align64(items * sizeof(T));
    };
    take(state, 1);
    take(strip, t.v.n_h() * strips.row_floats(t.groups_of(part.columns_per_block)));
    take(v, t.frequencies() * t.frequency_stride(count));
    take(c, t.frequencies() * count * width);
    take(y, t.v.m_h * part.columns_per_block * t.v.m_w * width);
    take(windows, plain.row_floats(t.v.m_w));
    take(rows, std::max<int64_t>(t.frequencies() * count, t.v.m_w));
    char* scratch;
    take(scratch, std::max(strips.copy_bytes(t.v.n_h()), plain.copy_bytes(1)));
    copies = scratch;
    take(unusual, count);
    bytes = size_t(at - base);
  }
};

// What one worker does.
class Nest {
 public:
  Nest(const Run& run, const Tiling& tiling, const Partition& part)
      : run_(run),
        t_(tiling),
        p_(run.problem),
        k_(run.target.kernels),
        part_(part),
        strips_(tiling.strips, false),
        plain_(run.problem),
        panels_(p_.co, k_),
        extra_(run.packed + packed_floats_aligned(k_, p_)),
        each_(Memory(t_, k_, part_, nullptr).bytes) {
    std::memcpy(&unusual_weights_, extra_, sizeof unusual_weights_);
    for (int t = 0; t < run.target.threads; ++t) *memory(t).state = Memory::State{};
  }

  void task(int64_t task, int worker) const {
    const Memory m = memory(worker);
    const BlockRange block = part_.block(t_.tiles, task);
    const int64_t first = part_.first_panel(task), end = std::min(first + part_.panels_per_chunk, panels_.count());
    if (unusual_weights_) {
      std::memset(m.unusual, 1, size_t(block.pixels()));
      return redo_tiles(block, m, first, end);
    }
    if (m.state->block != block.id) m.state->usual = transform(block, m);
    m.state->block = block.id;
    for (int64_t j = first; j < end; ++j) {
      multiply(block, m, j);
      for (int64_t r = 0; r < block.rows; ++r) transform_back(block, m, j, r);
    }
    if (!m.state->usual) redo_tiles(block, m, first, end);
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

  Memory memory(int worker) const { return Memory(t_, k_, part_, run_.workspace + worker * each_); }

  // V of a block, and which of its tiles hold unusual values; false if any does.
  bool transform(const BlockRange& block, const Memory& m) const {
    bool usual = true;
    const int64_t groups = t_.groups_of(block.columns), length = strips_.row_floats(groups);
    WindowRows::Target<float> to{k_.pack, m.strip, static_cast<WindowRows::Copy<float>*>(m.copies)};
    WinogradInputArgs args{m.strip, length, t_.k, t_.v.m_w * t_.k, m.v, t_.frequency_stride(block.pixels()),
                           t_.k_stride, block.columns, t_.k};
    for (int64_t r = 0; r < block.rows; ++r, args.v += block.columns * t_.k_stride) {
      const int64_t row = block.first_row + r, per_slice = t_.tiles.axis[1].out;
      const int64_t first = row / per_slice * t_.strips.axis[1].out + row % per_slice * t_.v.m_h;
      strips_.lay_out(to, run_.memory, block.group, first, t_.v.n_h(), block.first_column * t_.v.m_w, groups);
      uint8_t* flags = m.unusual + r * block.columns;
      std::memset(flags, 0, size_t(block.columns));
      if (is_unusual(m.strip, t_.v.n_h() * length))
        for (int64_t c = 0; c < block.columns; ++c)
          for (int64_t i = 0; i < t_.v.n_h(); ++i)
            flags[c] |= is_unusual(m.strip + i * length + c * t_.v.m_w * t_.k, t_.v.n_w() * t_.k);
      for (int64_t c = 0; c < block.columns; ++c) usual &= !flags[c];
      t_.kernels.input(args);
    }
    for (int64_t f = 0; f < t_.frequencies(); ++f)
      for (int64_t i = 0; i < block.pixels(); ++i)
        m.rows[f * block.pixels() + i] = m.v + f * args.v_frequency + i * t_.k_stride;
    return usual;
  }

  // C of one panel.
  void multiply(const BlockRange& block, const Memory& m, int64_t panel) const {
    const int64_t lanes = panels_.lanes_of(panel), tiles = block.pixels();
    const int64_t count = ceil_div(tiles, k_.tile_rows), height = tiles / count, higher = tiles % count;
    const TileFn* tile = k_.tile[panels_.vectors(panel)];
    TileArgs args{};
    args.segment_length = args.count = t_.k;
    args.sum_block = t_.sum_block();
    args.b = extra_ + kFlagFloats + block.group * panels_.size(t_.frequencies() * t_.k) +
             panel * panels_.width * t_.frequencies() * t_.k;
    args.rows = m.rows;
    args.c = m.c;
    for (int64_t f = 0; f < t_.frequencies(); ++f, args.b += t_.k * lanes)
      for (int64_t i = 0; i < count; ++i) {
        const int64_t rows = height + (i < higher);
        tile[rows](args);
        args.rows += rows;
        args.c += rows * lanes;
      }
  }

  void transform_back(const BlockRange& block, const Memory& m, int64_t panel, int64_t r) const {
    const int64_t lanes = panels_.lanes_of(panel);
    const Outputs to = outputs_of(block, r, 0, block.columns);
    t_.kernels.output({m.c + r * block.columns * lanes, block.pixels() * lanes, m.y, lanes, block.columns, to.rows,
                       to.columns});
    const bool whole = to.columns == p_.axis[2].out;  // rows follow each other
    for (int64_t h = 0; h < (whole ? 1 : to.rows); ++h)
      finish(block, m.y + h * to.columns * lanes, panel, to.pixel + h * p_.axis[2].out,
             whole ? to.rows * to.columns : to.columns);
  }

  void finish(const BlockRange& block, const float* sums, int64_t panel, int64_t pixel, int64_t pixels) const {
    finish_block(k_, p_, run_.memory, pixel, pixels, block.group * p_.co + panel * panels_.width, panels_.used(panel),
                 sums, panels_.lanes_of(panel));
  }

  // Outputs of unusual tiles from their windows.
  void redo_tiles(const BlockRange& block, const Memory& m, int64_t first, int64_t end) const {
    for (int64_t i = 0; i < block.pixels(); ++i) {
      if (!m.unusual[i]) continue;
      const Outputs to = outputs_of(block, i / block.columns, i % block.columns, 1);
      for (int64_t h = 0; h < to.rows; ++h) redo_row(block, m, first, end, to.pixel + h * p_.axis[2].out, to.columns);
    }
    m.state->block = -1;  // its pointers are gone
  }

  void redo_row(const BlockRange& block, const Memory& m, int64_t first, int64_t end, int64_t pixel,
                int64_t pixels) const {
    plain_.lay_out<float>({k_.pack, m.windows, static_cast<WindowRows::Copy<float>*>(m.copies)}, run_.memory,
                          block.group, pixel / p_.axis[2].out, 1, pixel % p_.axis[2].out, pixels);
    for (int64_t w = 0; w < pixels; ++w) m.rows[w] = m.windows + w * plain_.step * plain_.column_stride;
    for (int64_t j = first; j < end; ++j) {
      const float* b = run_.packed + block.group * panels_.size(p_.k()) + j * panels_.width * p_.k();
      multiply_panel(k_, plain_.windows(m.rows), pixels, p_.k(), panels_.vectors(j), b, m.y, {});
      finish(block, m.y, j, pixel, pixels);
    }
  }

  const Run& run_;
  const Tiling& t_;
  const Problem& p_;
  const Kernels& k_;
  const Partition& part_;
  WindowRows strips_, plain_;
  Panels panels_;
  const float* extra_;
  size_t each_;
  uint32_t unusual_weights_ = 0;
};

// The algorithm of one tile of outputs; the kernel decides the rest.
template <int M_H, int M_W>
struct Winograd {
  static int find(const Problem& p) {
    for (int i = 0; i < kWinogradCount; ++i) {
      const WinogradVariant& v = kWinogradVariants[i];
      if (v.m_h == M_H && v.m_w == M_W && v.r_h == taps_per_phase(p.axis[1]) && v.r_w == taps_per_phase(p.axis[2]))
        return i;
    }
    return -1;
  }

  static std::string decline(const Problem& p, Layout) {
    if (p.axis[1].dilation > 1 || p.axis[2].dilation > 1) return "the kernel is dilated";
    const int variant = find(p);
    char text[160];
    if (variant < 0) {
      std::snprintf(text, sizeof text, "there is no such tile for a kernel of %lld x %lld with stride %lld x %lld",
                    (long long)p.axis[1].taps, (long long)p.axis[2].taps, (long long)p.axis[1].stride,
                    (long long)p.axis[2].stride);
      return text;
    }
    const double error = kWinogradVariants[variant].error, plain = plain_error(p.k());
    if (p.precision == Precision::highest && error > plain) {
      std::snprintf(text, sizeof text,
                    "its error of %.1e exceeds the %.1e of a float32 sum of %lld terms; precision 'high' allows it",
                    error, plain, (long long)p.k());
      return text;
    }
    const Tiling t(p, kernels(), variant);
    const size_t bytes = Memory(t, kernels(), partition_of(t, {kernels(), 1}), nullptr).bytes;
    if (bytes <= kLimit) return "";
    return "a block takes " + std::to_string(bytes) + " bytes of every thread; allowed are " + std::to_string(kLimit);
  }

  static size_t workspace(const Problem& p, Target target) {
    const Tiling t(p, target.kernels, find(p));
    return target.threads * Memory(t, target.kernels, partition_of(t, target), nullptr).bytes;
  }

  // Of U, in floats.
  static double spectrum(const Tiling& t, const Kernels& k) {
    return double(t.p.groups) * double(Panels(t.p.co, k).size(t.frequencies() * t.k));
  }

  // Cycles, measured on layers 5 to 12 of the im2win papers: 3 per vector transformed, either way; 0.7 per float laid
  // out; U read once per block at 12 bytes a cycle; a fifth on top of the multiplications for short sums.
  static double cost(const Problem& p, Target target) {
    const Kernels& k = target.kernels;
    const Tiling t(p, k, find(p));
    const Partition part = partition_of(t, {k, 1});
    const double tiles = t.tile_count() * double(p.groups), lanes = double(Panels(p.co, k).size(1));
    const double vectors = double(ceil_div(t.k, k.lanes)) + lanes / k.lanes;
    const double multiply = 2 * tiles * t.frequencies() * double(t.k) * lanes / k.peak * 1.2;
    const double strips = double(t.tiles.rows()) * double(p.groups) * t.v.n_h() *
                          double(t.groups_of(t.tiles.axis[2].out)) * double(t.k) * 0.7;
    const double blocks = std::max(1.0, t.tile_count() / double(part.max_pixels()));
    const double traffic = blocks * spectrum(t, k) * sizeof(float) / 12;
    return (std::max(multiply, traffic) + tiles * t.frequencies() * vectors * 3 + strips) / target.threads;
  }

  static size_t extra_floats(const Problem& p, const Kernels& k) {
    const Tiling t(p, k, find(p));
    return kFlagFloats + size_t(p.groups) * Panels(p.co, k).size(t.frequencies() * t.k);
  }

  static void pack_extra(const Problem& p, const Kernels& k, const float* packed, float* extra) {
    const Tiling t(p, k, find(p));
    const Panels panels(p.co, k);
    const uint32_t any = is_unusual(packed, p.groups * panels.size(p.k()));
    std::memset(extra, 0, kFlagFloats * sizeof(float));
    std::memcpy(extra, &any, sizeof any);
    parallel_for(p.groups * panels.count(), [&](int64_t task, int) {
      const int64_t g = task / panels.count(), j = task % panels.count(), lanes = panels.lanes_of(j);
      const int64_t size = t.frequencies() * t.k;
      t.kernels.weights({packed + g * panels.size(p.k()) + j * panels.width * p.k(), lanes, p.ci, p.axis[0].taps,
                         p.axis[1].taps, p.axis[2].taps, t.strips.axis[1].taps, t.strips.axis[2].taps,
                         extra + kFlagFloats + g * panels.size(size) + j * panels.width * size});
    });
  }

  static void run(const Run& r) {
    const Tiling t(r.problem, r.target.kernels, find(r.problem));
    const Partition part = partition_of(t, r.target);
    const Nest nest(r, t, part);
    parallel_for(part.tasks, r.target.threads, [&](int64_t task, int worker) { nest.task(task, worker); });
  }

  static constexpr Algorithm algorithm(const char* name) {
    return {name, "Winograd, fused in blocks of tiles", decline, workspace, cost, run, extra_floats, pack_extra};
  }
};

}  // namespace

const Algorithm kWinograd2x2 = Winograd<2, 2>::algorithm("winograd_2x2");
const Algorithm kWinograd2x4 = Winograd<2, 4>::algorithm("winograd_2x4");
const Algorithm kWinograd3x3 = Winograd<3, 3>::algorithm("winograd_3x3");
const Algorithm kWinograd4x4 = Winograd<4, 4>::algorithm("winograd_4x4");
const Algorithm kWinograd5x5 = Winograd<5, 5>::algorithm("winograd_5x5");
const Algorithm kWinograd6x6 = Winograd<6, 6>::algorithm("winograd_6x6");
const Algorithm kWinograd1x2 = Winograd<1, 2>::algorithm("winograd_1x2");
const Algorithm kWinograd1x4 = Winograd<1, 4>::algorithm("winograd_1x4");
const Algorithm kWinograd1x6 = Winograd<1, 6>::algorithm("winograd_1x6");

}  // namespace omniconv::conv
