// conv/winograd.cpp -- Winograd convolution: which tiles serve a problem, what they cost and how exact they are
//
// F(m x m, r x r) computes a tile of m x m outputs with (m + r - 1)^2 products per channel instead of m^2 r^2.
// A stride of s is taken out first: outputs with stride s are a stride-1 convolution over s * s times the channels (the
// phases of the input) with kernels of ceil(r / s) taps. 7 x 7 with stride 2 is F(3x3, 4x4), 11 x 11 with stride 4
// F(2x4, 3x3). Depth taps are channels likewise.
//
// Error. A tile's rounding errors are relative to the whole tile, not to one output, and grow with the tile; in return
// a sum has k terms where direct summation has k * r * r. For `highest` the sums are cut every kWinogradSumBlock terms,
// and a tile is taken only where its error stays below that of one float32 chain over the window (plain_error): with
// 128 channels and 3 x 3 taps F(4x4) errs by 5.6e-7, the chain by 6.1e-7. Points decide too: see cook_toom.hpp.
#include "conv/winograd.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "core/thread_pool.hpp"

namespace omniconv::conv {
namespace {

constexpr size_t kLimit = size_t{1} << 25;  // memory of a worker beyond which the others serve

int64_t taps_per_phase(const Axis& a) { return ceil_div(a.taps, a.stride); }

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
    const size_t bytes = winograd_worker_bytes(Tiling(p, kernels(), variant), {kernels(), 1});
    if (bytes <= kLimit) return "";
    return "a block takes " + std::to_string(bytes) + " bytes of every thread; allowed are " + std::to_string(kLimit);
  }

  static size_t workspace(const Problem& p, Target target) {
    return winograd_workspace(Tiling(p, target.kernels, find(p)), target);
  }

  // Of U, in floats.
  static size_t spectrum(const Tiling& t, const Kernels& k) {
    return size_t(t.p.groups) * size_t(Panels(t.p.co, k).size(t.frequencies() * t.k));
  }

  // Cycles, measured on layers 5 to 12 of the im2win papers: 3 per vector transformed, either way; 0.7 per float laid
  // out; U read once per block at 5 bytes a cycle; a tenth on top of the multiplications, and 6 cycles to
  // begin and end a vector of sums, which is most of it where channels are few.
  static double cost(const Problem& p, Layout, Target target) {
    const Kernels& k = target.kernels;
    const Tiling t(p, k, find(p));
    const WinogradBlocks cut(t, {k, 1});
    const double tiles = t.tile_count() * double(p.groups), lanes = double(Panels(p.co, k).size(1));
    const double vectors = double(ceil_div(t.k, k.lanes)) + lanes / k.lanes;
    const double multiply = tiles * t.frequencies() * lanes * (2.2 * double(t.k) / k.peak + 6.0 / k.lanes);
    const double strips = double(t.tiles.rows()) * double(p.groups) * t.v.n_h() *
                          double(t.groups_of(t.tiles.axis[2].out)) * double(t.k) * 0.7;
    const double blocks = std::max(1.0, t.tile_count() / double(cut.part.max_pixels()));
    const double traffic = blocks * double(spectrum(t, k)) * sizeof(float) / 5;
    return (std::max(multiply, traffic) + tiles * t.frequencies() * vectors * 3 + strips) / target.threads +
           finish_cycles(p, target);
  }

  // 5 cycles a float of U: float64 transforms, then a store that misses.
  static double pack_cost(const Problem& p, Target target) {
    return double(spectrum(Tiling(p, target.kernels, find(p)), target.kernels)) * 5 / target.threads;
  }

  static size_t extra_floats(const Problem& p, const Kernels& k) {
    return kWinogradFlagFloats + spectrum(Tiling(p, k, find(p)), k);
  }

  static void pack_extra(const Problem& p, const Kernels& k, const float* packed, float* extra) {
    const Tiling t(p, k, find(p));
    const Panels panels(p.co, k);
    const uint32_t any = has_unusual(packed, p.groups * panels.size(p.k()));
    std::memset(extra, 0, kWinogradFlagFloats * sizeof(float));
    std::memcpy(extra, &any, sizeof any);
    parallel_for(p.groups * panels.count(), [&](int64_t task, int) {
      const int64_t g = task / panels.count(), j = task % panels.count(), lanes = panels.lanes_of(j);
      const int64_t size = t.frequencies() * t.k;
      t.kernels.weights({packed + g * panels.size(p.k()) + j * panels.width * p.k(), lanes, p.ci, p.axis[0].taps,
                         p.axis[1].taps, p.axis[2].taps, t.strips.axis[1].taps, t.strips.axis[2].taps,
                         extra + kWinogradFlagFloats + g * panels.size(size) + j * panels.width * size});
    });
  }

  static void run(const Run& r) { run_winograd(r, Tiling(r.problem, r.target.kernels, find(r.problem))); }

  static constexpr Algorithm algorithm(const char* name) {
    return {name,         "Winograd, fused in blocks of tiles",
            decline,      workspace,
            cost,         run,
            extra_floats, pack_extra,
            pack_cost,    false,
            true};
  }
};

}  // namespace

double plain_error(int64_t terms) { return 1.78e-8 * std::sqrt(double(terms)); }

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
