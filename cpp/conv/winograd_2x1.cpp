// conv/winograd_2x1.cpp -- rows of output in pairs, lanes are pixels; for stems, NCHW
//
// Few channels leave the tiles of winograd.cpp all transform and no product. Here F(2, r) is taken along the height
// alone and both transforms stay in the loops of `planar`: the rows of input under two rows of output are transformed
// where they lie in the strip, and every transformed row (slot) is a chain over channels and columns of the kernel,
// added to one or both outputs. A stride of s makes s phases of the height, phase q with ceil((taps - q) / s) taps: for
// two outputs taps + s products instead of 2 taps, 9 / 14 for 7 x 7 with stride 2, 2 / 3 for 3 x 3, 15 / 22 for 11,
// stride 4.
//
// Error: see error(); below that of one chain over the window for most stems, as the chains are a fraction as long.
// Rows that hold infinity, NaN or magnitudes beyond 2^60 are computed as `planar` does, as is all where weights do.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "conv/cook_toom.hpp"
#include "conv/planar_nest.hpp"
#include "conv/winograd.hpp"
#include "core/thread_pool.hpp"

namespace omniconv::conv {
namespace {

// F(2, taps) of a phase: outputs from slots, slots from taps. Row i of `a` and `g` belongs to slot i.
struct RowTransform {
  double a[kMaxRowPairTaps + 1][2]{}, g[kMaxRowPairTaps + 1][kMaxRowPairTaps]{};
};
template <int TAPS>
RowTransform transform_of() {
  constexpr CookToom<2, TAPS> t{};
  RowTransform to;
  for (int i = 0; i <= TAPS; ++i) {
    for (int o = 0; o < 2; ++o) to.a[i][o] = t.a[o][i];
    for (int j = 0; j < TAPS; ++j) to.g[i][j] = t.g[i][j];
  }
  return to;
}
const RowTransform& transform_of(int64_t taps) {
  static const RowTransform all[] = {transform_of<1>(), transform_of<2>(), transform_of<3>(), transform_of<4>()};
  return all[taps - 1];
}

// What a pair of rows is made of. Slot t is slot t / stride of phase t % stride, and lies in row t of the strip.
struct Pairs {
  const Problem& p;
  int64_t stride, slots, count;  // count: terms of a chain
  explicit Pairs(const Problem& problem)
      : p(problem), stride(p.axis[1].stride), slots(p.axis[1].taps + stride), count(p.k() / p.axis[1].taps) {}
  int64_t taps(int64_t phase) const { return ceil_div(p.axis[1].taps - phase, stride); }
  int64_t terms() const { return slots * count; }
};

// Relative L2 error on normal data. A phase of r taps and chains of n terms errs by sqrt(fixed[r] + each[r] n) 1e-7 of
// its part of the sum, measured for n = 4 to 256, points of cook_toom.hpp; adding phases costs another 0.4e-7.
double error(const Pairs& q) {
  constexpr double fixed[] = {0, 0, 0.28, 0.37, 1.1}, each[] = {0, 0.032, 0.0625, 0.054, 0.134};
  double sum = 0;
  for (int64_t phase = 0; phase < q.stride; ++phase) {
    const int64_t r = q.taps(phase);
    sum += double(r) / double(q.p.axis[1].taps) * (fixed[r] + each[r] * double(q.count));
  }
  return 1e-7 * std::sqrt(sum + (q.stride > 1 ? 0.15 : 0));
}

struct Worker {
  float *strip, *sums, *out;
  size_t bytes;
  Worker(const PlanarStrip& s, const Kernels& k, char* at) {
    char* const base = at;
    take(at, strip, s.floats());
    for (float** tiles : {&sums, &out}) take(at, *tiles, 2 * kMaxPlanarRows * kMaxPlanarVectors * k.lanes);
    bytes = size_t(at - base);
  }
};

// What all workers read.
struct Shared {
  int64_t *offsets, *window_offsets;  // of the terms of a chain; of planar sums
  float* factors;
  size_t bytes;
  Shared(const Pairs& q, char* at) {
    char* const base = at;
    take(at, offsets, q.count);
    take(at, window_offsets, q.p.k());
    take(at, factors, 2 * q.slots);
    bytes = size_t(at - base);
  }
};

std::string decline(const Problem& p, Layout) {
  const Axis& h = p.axis[1];
  if (h.taps <= h.stride) return "rows of output share no rows of input";
  if (h.dilation > 1) return "the kernel is dilated along the height";
  if (ceil_div(h.taps, h.stride) > kMaxRowPairTaps) return "a phase of the kernel has more than 4 rows";
  if (!planar_over_channels(p)) return "a group has fewer than 4 output channels";
  const Pairs q(p);
  if (q.count > kSumBlock) return "a row of the kernel has more than " + std::to_string(kSumBlock) + " terms";
  char text[160];
  const double own = error(q), plain = plain_error(p.k());
  if (p.precision == Precision::highest && own > 1.02 * plain) {  // 2 %: what the models are good for
    std::snprintf(text, sizeof text,
                  "its error of %.1e exceeds the %.1e of a float32 sum of %lld terms; precision 'high' allows it", own,
                  plain, (long long)p.k());
    return text;
  }
  return decline_strip(p, 2);
}

size_t workspace(const Problem& p, Target t) {
  return Shared(Pairs(p), nullptr).bytes + t.threads * Worker(PlanarStrip(p, t.kernels, 2), t.kernels, nullptr).bytes;
}

// Cycles beside the products, measured on stems of 1 to 32 channels: 3.7 to begin a vector of a chain and add it to the
// sums, 6 to write two vectors; strips are laid out and transformed at 1.7 floats a cycle, 0.8 with strides above 2.
double cost(const Problem& p, Layout, Target t) {
  const Kernels& k = t.kernels;
  const Pairs q(p);
  const double pairs = double(p.batch * p.groups * p.axis[0].out) * double(ceil_div(p.axis[1].out, 2));
  const double vectors = pairs * double(p.co) * double(ceil_div(p.axis[2].out, k.lanes));
  const double chains = vectors * double(q.slots) * (double(q.count) * 2 * k.lanes / k.peak + 3.7);
  // Rows of many channels, and weights from beyond L1: as in planar.cpp.
  const double each = p.ci > 64 ? 2 : p.axis[2].stride <= 2 ? 0.6 : 1.3;
  const double strips = pairs * double(PlanarStrip(p, k, 2).floats()) * each;
  const double reads = pairs * double(p.co) * double(q.terms()) * sizeof(float) / 16;
  // Rows of one vector take half as long again, those of four and more do not (groups of 16 on 14x14 to 56x56).
  const int64_t of_row = std::min<int64_t>(ceil_div(p.axis[2].out, k.lanes), kMaxPlanarVectors);
  const double few = 1 + 0.5 * double(kMaxPlanarVectors - of_row) / (kMaxPlanarVectors - 1);
  // Channels last every float goes in and out on its own, at 3 cycles. The bits forbid a choice for either layout: the
  // mean of both.
  const double floats = double(p.batch * p.groups * p.ci) * double(p.axis[0].in * p.axis[1].in * p.axis[2].in) +
                        double(p.pixels()) * double(p.groups * p.co);
  return (chains * few + vectors * 6 + strips + floats * 1.5 + (p.ci > 64 ? reads : 0)) / t.threads;
}

size_t extra_floats(const Problem& p, const Kernels& k) {
  return kWinogradFlagFloats + size_t(p.groups) * size_t(Panels(p.co, k).size(Pairs(p).terms()));
}

// [panel][slot][kw][kd][ci][lanes] from [panel][kw][kd][kh][ci][lanes].
void pack_extra(const Problem& p, const Kernels& k, const float* packed, float* extra) {
  const Pairs q(p);
  const Panels panels(p.co, k);
  const uint32_t any = has_unusual(packed, p.groups * panels.size(p.k()));
  std::memset(extra, 0, kWinogradFlagFloats * sizeof(float));
  std::memcpy(extra, &any, sizeof any);
  const int64_t outer = p.axis[2].taps * p.axis[0].taps;
  parallel_for(p.groups * panels.count(), [&](int64_t task, int) {
    const int64_t g = task / panels.count(), j = task % panels.count(), row = p.ci * panels.lanes_of(j);
    const float* from = packed + g * panels.size(p.k()) + j * panels.width * p.k();
    float* to = extra + kWinogradFlagFloats + g * panels.size(q.terms()) + j * panels.width * q.terms();
    for (int64_t slot = 0; slot < q.slots; ++slot) {
      const int64_t phase = slot % q.stride, taps = q.taps(phase);
      const double* factors = transform_of(taps).g[slot / q.stride];
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t i = 0; i < row; ++i) {
          double sum = 0;
          for (int64_t tap = 0; tap < taps; ++tap)
            sum += factors[tap] * double(from[(o * p.axis[1].taps + phase + tap * q.stride) * row + i]);
          *to++ = float(sum);
        }
    }
  });
}

// As that of winograd.cpp.
double pack_cost(const Problem& p, Target t) { return double(extra_floats(p, t.kernels)) * 5 / t.threads; }

// One run.
class RowPairs {
 public:
  explicit RowPairs(const Run& run)
      : run_(run),
        p_(run.problem),
        k_(run.target.kernels),
        pairs_(p_),
        strip_(p_, k_, 2),
        nest_(run, strip_),
        shared_(pairs_, run.workspace),
        extra_(run.packed + packed_floats_aligned(k_, p_)) {
    std::memcpy(&unusual_weights_, extra_, sizeof unusual_weights_);
    strip_.offsets(2, shared_.window_offsets);
    int64_t* to = shared_.offsets;
    for (int64_t k = 0; k < p_.k(); ++k)  // those of the first row of the kernel
      if (k / p_.ci % p_.axis[1].taps == 0) *to++ = shared_.window_offsets[k];
    for (int64_t slot = 0; slot < pairs_.slots; ++slot)
      for (int o = 0; o < 2; ++o)
        shared_.factors[2 * slot + o] =
            float(transform_of(pairs_.taps(slot % pairs_.stride)).a[slot / pairs_.stride][o]);
  }

  int64_t tasks() const { return nest_.tasks(); }

  void task(int64_t task, int worker) const {
    const size_t each = Worker(strip_, k_, nullptr).bytes;
    const Worker w(strip_, k_, run_.workspace + shared_.bytes + worker * each);
    const PlanarNest::Place place = nest_.place(task);
    nest_.fill(place, 2, w.strip);
    if (!unusual_weights_ && transform(w.strip)) return multiply(place, w);
    if (!unusual_weights_) nest_.fill(place, 2, w.strip);
    nest_.channels(place, w.strip, shared_.window_offsets, w.sums);
  }

 private:
  // False where a value is unusual.
  bool transform(float* strip) const {
    int32_t most = 0;
    for (int64_t plane = 0; plane < p_.ci * p_.axis[0].taps; ++plane, strip += pairs_.slots * strip_.line)
      for (int64_t phase = 0; phase < pairs_.stride; ++phase)
        most = std::max(most, k_.row_pair.transform[pairs_.taps(phase)](strip + phase * strip_.line,
                                                                        pairs_.stride * strip_.line, strip_.line));
    return most <= kLargestUsual;
  }

  void multiply(const PlanarNest::Place& place, const Worker& w) const {
    const bool plain = nest_.plain(), one = place.outputs == 1;
    const int64_t second = kMaxPlanarRows * kMaxPlanarVectors * k_.lanes;
    RowPairArgs args{};
    args.slots = pairs_.slots;
    args.slot_step = strip_.line;
    args.offsets = shared_.offsets;
    args.count = pairs_.count;
    args.factors = shared_.factors;
    args.sums = w.sums;
    nest_.each_tile_row(
        place, extra_ + kWinogradFlagFloats, pairs_.terms(), 2, args, [&](const PlanarNest::TileRow& t) {
          float *y = nest_.y_of(place, t.channel, 0), *next = nest_.y_of(place, t.channel, 1);
          const auto tile = k_.row_pair.tile[t.vectors][t.channels];
          for (int64_t i = 0, column = t.column; i < t.pieces; ++i, column += t.vectors * k_.lanes) {
            const int64_t pixels = std::min(t.vectors * k_.lanes, p_.axis[2].out - column);
            args.x = w.strip + column;
            args.lanes = int(pixels);
            args.c_row = plain && !one ? run_.memory.ys.c : kMaxPlanarVectors * k_.lanes;
            args.c[0] = plain && !one ? y + column : w.out;
            args.c[1] = plain && !one ? next + column : w.out + second;
            tile(args);
            for (int o = 0; o < place.outputs && (one || !plain); ++o)
              nest_.finish(place, args.c[o], args.c_row, t.channels, pixels, t.channel, o, column, true);
          }
        });
  }

  const Run& run_;
  const Problem& p_;
  const Kernels& k_;
  Pairs pairs_;
  PlanarStrip strip_;
  PlanarNest nest_;
  Shared shared_;
  const float* extra_;
  uint32_t unusual_weights_ = 0;
};

void run(const Run& r) {
  const RowPairs pairs(r);
  parallel_for(pairs.tasks(), r.target.threads, [&](int64_t task, int worker) { pairs.task(task, worker); });
}

}  // namespace

const Algorithm kWinograd2x1 = {"winograd_2x1",
                                "Winograd along the height, rows of pixels, channel by channel",
                                decline,
                                workspace,
                                cost,
                                run,
                                extra_floats,
                                pack_extra,
                                pack_cost,
                                false,
                                true};

}  // namespace omniconv::conv
