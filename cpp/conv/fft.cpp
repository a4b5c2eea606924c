// conv/fft.cpp -- large kernels of one channel, stride 1: the image as one long row, convolved by the fft family
//
// Rows of the image lie behind one another with as many zeros between them as the kernel reaches over either side, so
// that output (h, w) is element h * pitch + w of a 1-D correlation whose taps are kernel rows `pitch` apart; rows above
// and below are elements outside of the row, which cost nothing. One transform takes 1.6 n log2 n operations whatever
// the taps: from about 11 x 11 on that is less than multiplying them out.
//
// Errors are relative to the norm of an image. Images or kernels with NaN, infinities or numbers past 2^60, which a
// transform would spread over all outputs, are multiplied out.
#include <algorithm>
#include <cmath>

#include "conv/algorithm.hpp"
#include "conv/blocks.hpp"
#include "core/thread_pool.hpp"
#include "core/workspace.hpp"
#include "fft/engine.hpp"

namespace omniconv::conv {
namespace {

using fft::Engine;

// The block of input rows that is convolved, and its outputs among those of a long row.
struct LongRow {
  int64_t rows, width;  // of the block; border modes other than zeros are written out in it
  int64_t above, left;  // zeros before it
  int64_t pitch;
  fft::Map map;

  explicit LongRow(const Problem& p) {
    const Axis &h = p.axis[1], &w = p.axis[2];
    const bool zeros = p.mode == PaddingMode::zeros;
    rows = zeros ? h.in : h.out + h.window() - 1;
    width = zeros ? w.in : w.out + w.window() - 1;
    above = zeros ? h.lo : 0;
    left = zeros ? w.lo : 0;
    const int64_t right = w.out - 1 + w.window() - left - width;
    pitch = std::max(width + std::max({left, right, int64_t{0}}), w.out);
    map.in = (rows - 1) * pitch + width;
    map.out = (h.out - 1) * pitch + w.out;
    // Tap (i, j) multiplies the element i * dilation * pitch + j * dilation behind that of tap (0, 0).
    map.hi = above * pitch + left;
    map.lo = map.hi - (h.window() - 1) * pitch - (w.window() - 1);
    map.lo = std::max(map.lo, 1 - map.in);
    map.hi = std::min(map.hi, map.out - 1);
  }
  int64_t lag(const Problem& p, int64_t i, int64_t j) const {
    return (above - i * p.axis[1].dilation) * pitch + left - j * p.axis[2].dilation;
  }
};

// Of one transform for the whole row: 2 MiB of spectrum a filter. Longer rows go in blocks, of at most 2^15 points,
// which serve kernels that reach over kBlockSpan elements.
constexpr int64_t kMostPoints = int64_t{1} << 18, kBlockSpan = 48 << 10;

fft::Geometry geometry(const fft::Map& map, int lanes) {
  const fft::Geometry whole = fft::whole_geometry(map, lanes), block = fft::block_geometry(map, lanes, sizeof(float));
  const bool blocks = block.points && (whole.points > kMostPoints ||
                                       fft::geometry_cost(block, lanes, 4) < fft::geometry_cost(whole, lanes, 4));
  return blocks ? block : whole;
}

Engine<float> engine(const LongRow& row, const Kernels& k) {
  const fft::Geometry g = geometry(row.map, k.lanes);
  return {row.map, g, fft::kernels_of_width(k.lanes).f32, fft::kept_tables<float>(g.points, k.lanes)};
}

struct Memory {
  float *row, *sums, *z;
  size_t bytes;
  Memory(const LongRow& r, const Engine<float>& e, char* at) {
    char* const base = at;
    take(at, row, r.map.in);
    take(at, sums, r.map.out);
    take(at, z, e.z_bytes() / sizeof(float));
    bytes = size_t(at - base);
  }
};

bool ordinary(const float* x, int64_t count) {
  bool other = false;
  for (int64_t i = 0; i < count; ++i) other |= !(std::fabs(x[i]) < 0x1p60f);
  return !other;
}

// The weights of one filter among the panels: element i, the order of which has columns outside and rows inside.
struct Filter {
  const float* first;
  int64_t step;
  Filter(const Problem& p, const Kernels& k, const float* packed, int64_t filter) {
    const Panels panels(p.co, k);
    const int64_t channel = filter % p.co, panel = channel / panels.width;
    first = packed + filter / p.co * panels.size(p.k()) + panel * panels.width * p.k() + channel % panels.width;
    step = panels.lanes_of(panel);
  }
  float operator[](int64_t i) const { return first[i * step]; }
};

std::string decline(const Problem& p, Layout) {
  const Axis &d = p.axis[0], &h = p.axis[1], &w = p.axis[2];
  if (p.ci != 1) return "a group has more than one input channel";
  if (d.taps != 1) return "the kernel reaches over several planes";
  if (h.stride != 1 || w.stride != 1) return "the stride is not 1";
  const LongRow row(p);
  if (row.map.lo > row.map.hi) return "no tap reaches the image";
  if (row.map.span() > kBlockSpan && row.map.in + row.map.span() > 2 * kMostPoints)
    return "the kernel reaches over " + std::to_string(row.map.span()) + " elements of a long row";
  return "";
}

size_t workspace(const Problem& p, Target t) {
  const LongRow row(p);
  return t.threads * Memory(row, engine(row, t.kernels), nullptr).bytes;
}

// Cycles of a transform there and back: a unit is half a cycle with vectors of 8.
double transform_cycles(const LongRow& row, const Kernels& k) {
  return fft::geometry_cost(geometry(row.map, k.lanes), k.lanes, sizeof(float)) * 0.5 * 8 / k.lanes;
}

double cost(const Problem& p, Layout, Target t) {
  const LongRow row(p);
  const double copies = 800 + 0.5 * double(row.map.in + 2 * row.map.out);  // bits must not depend on the layout
  const double images = double(p.batch) * double(p.axis[0].out) * double(p.groups * p.co);
  return images * (transform_cycles(row, t.kernels) + copies) / t.threads;
}

size_t extra_floats(const Problem& p, const Kernels& k) {
  return size_t(p.groups * p.co) * 2 * geometry(LongRow(p).map, k.lanes).points;
}

double pack_cost(const Problem& p, Target t) {
  return 0.6 * double(p.groups * p.co) * transform_cycles(LongRow(p), t.kernels);
}

void pack_extra(const Problem& p, const Kernels& k, const float* packed, float* extra) {
  const LongRow row(p);
  const Engine<float> e = engine(row, k);
  const int64_t kh = p.axis[1].taps, lags = row.map.span() + 1;
  const float factor = 1 / float(e.geometry().points);
  parallel_for(p.groups * p.co, num_threads(), [&](int64_t filter, int) {
    const Filter w(p, k, packed, filter);
    const ScopedWorkspace memory(size_t(lags + 2 * e.geometry().points) * sizeof(float));
    auto* at = static_cast<float*>(memory.data());
    std::fill_n(at, lags, 0.0f);
    for (int64_t i = 0; i < p.k(); ++i) {
      const int64_t lag = row.lag(p, i % kh, i / kh);
      if (lag >= row.map.lo && lag <= row.map.hi) at[lag - row.map.lo] = w[i] * factor;
    }
    e.transform(at, at + lags, extra + filter * e.spectrum_items());
  });
}

class Nest {
 public:
  explicit Nest(const Run& run)
      : run_(run),
        p_(run.problem),
        m_(run.memory),
        row_(p_),
        engine_(engine(row_, run.target.kernels)),
        spectra_(run.packed + packed_floats_aligned(run.target.kernels, p_)),
        bytes_(Memory(row_, engine_, nullptr).bytes) {}

  int64_t tasks() const { return p_.batch * p_.groups * p_.co * p_.axis[0].out; }

  // Filters outermost, so that images share a spectrum.
  void task(int64_t task, int worker) const {
    const int64_t od = task % p_.axis[0].out, n = task / p_.axis[0].out % p_.batch;
    const int64_t channel = task / p_.axis[0].out / p_.batch;
    const Memory memory(row_, engine_, run_.workspace + worker * bytes_);
    fill(n, channel / p_.co, od, memory.row);
    const Filter w(p_, run_.target.kernels, run_.packed, channel);
    bool plain = ordinary(memory.row, row_.map.in);
    for (int64_t i = 0; i < p_.k(); ++i) plain &= std::fabs(w[i]) < 0x1p60f;
    if (plain)
      for (int64_t block = 0; block < engine_.geometry().blocks; ++block) convolve(memory, block, channel);
    else
      multiply_out(memory, w);
    finish(n, channel, od, memory.sums);
  }

 private:
  void fill(int64_t n, int64_t group, int64_t od, float* to) const {
    const Axis &d = p_.axis[0], &h = p_.axis[1], &w = p_.axis[2];
    const int64_t z = border(od * d.stride - d.lo, d.in, p_.mode), step = m_.xs.axis[2];
    const float* plane = m_.x + n * m_.xs.n + group * m_.xs.c + z * m_.xs.axis[0];
    for (int64_t r = 0; r < row_.rows; ++r) {
      const int64_t y = p_.mode == PaddingMode::zeros ? r : border(r - h.lo, h.in, p_.mode);
      const float* from = plane + y * m_.xs.axis[1];
      float* const end = to + (r + 1 < row_.rows ? row_.pitch : row_.width);
      if (z < 0) {
        std::fill(to, end, 0.0f);
      } else if (p_.mode == PaddingMode::zeros) {
        if (step == 1)
          std::copy_n(from, w.in, to);
        else
          for (int64_t i = 0; i < w.in; ++i) to[i] = from[i * step];
        std::fill(to + w.in, end, 0.0f);
      } else {
        for (int64_t i = 0; i < row_.width; ++i) to[i] = from[border(i - w.lo, w.in, p_.mode) * step];
        std::fill(to + row_.width, end, 0.0f);
      }
      to = end;
    }
  }

  void convolve(const Memory& memory, int64_t block, int64_t channel) const {
    const fft::Geometry& g = engine_.geometry();
    const fft::Transform<float>* t = &engine_.team(1).t;
    const fft::LoadArgs<float> in{t, engine_.source(memory.row, nullptr, block), memory.z, 0, engine_.columns()};
    fft::StoreArgs<float> out{};
    out.transform = t;
    out.z = memory.z;
    out.end = engine_.columns();
    out.first = block * g.step;
    out.last = std::min(row_.map.out, out.first + g.step);
    out.shift = g.shift - out.first;
    out.y = memory.sums;
    engine_.convolve(in, out, spectra_ + channel * engine_.spectrum_items(), 1);
  }

  void multiply_out(const Memory& memory, const Filter& w) const {
    std::fill_n(memory.sums, row_.map.out, 0.0f);
    for (int64_t i = 0; i < p_.k(); ++i) {
      const int64_t lag = row_.lag(p_, i % p_.axis[1].taps, i / p_.axis[1].taps);
      const int64_t begin = std::max<int64_t>(lag, 0), end = std::min(row_.map.out, row_.map.in + lag);
      const float factor = w[i];
      for (int64_t o = begin; o < end; ++o) memory.sums[o] += factor * memory.row[o - lag];
    }
  }

  void finish(int64_t n, int64_t channel, int64_t od, const float* sums) const {
    PlanarFinishArgs f{};
    f.c = sums;
    f.c_row = row_.pitch;
    f.rows = p_.axis[1].out;
    f.pixels = p_.axis[2].out;
    f.y = m_.y + n * m_.ys.n + channel * m_.ys.c + od * m_.ys.axis[0];
    f.y_row = m_.ys.axis[1];
    f.y_pixel = m_.ys.axis[2];
    if (m_.residual) f.residual = m_.residual + n * m_.rs.n + channel * m_.rs.c + od * m_.rs.axis[0];
    f.r_row = m_.rs.axis[1];
    f.r_pixel = m_.rs.axis[2];
    f.bias = m_.bias ? m_.bias + channel : nullptr;
    f.scale = m_.scale ? m_.scale + channel : nullptr;
    f.activation = m_.activation;
    f.negative_slope = m_.negative_slope;
    run_.target.kernels.planar.finish(f);
  }

  const Run& run_;
  const Problem& p_;
  const Operands& m_;
  LongRow row_;
  Engine<float> engine_;
  const float* spectra_;
  size_t bytes_;
};

void run(const Run& r) {
  const Nest nest(r);
  parallel_for(nest.tasks(), r.target.threads, [&](int64_t task, int worker) { nest.task(task, worker); });
}

}  // namespace

const Algorithm kFft = {
    .name = "fft",
    .summary = "one channel per group and large kernels, by transforms of long rows",
    .decline = decline,
    .workspace = workspace,
    .cost = cost,
    .run = run,
    .extra_floats = extra_floats,
    .pack_extra = pack_extra,
    .pack_cost = pack_cost,
    .own_bits = true,
};

}  // namespace omniconv::conv
