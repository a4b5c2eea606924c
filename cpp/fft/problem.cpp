// fft/problem.cpp -- checks, lags of every mode, sizes of transforms
#include "fft/problem.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "fft/transform.hpp"

namespace omniconv {

FftMode parse_fft_mode(std::string_view text) {
  constexpr std::string_view kNames[] = {"causal", "circular", "same", "full", "valid"};
  for (int i = 0; i < 5; ++i)
    if (kNames[i] == text) return FftMode(i);
  throw Error(Code::invalid_argument,
              "mode is '" + std::string(text) + "'; allowed are 'causal', 'circular', 'same', 'full', 'valid'");
}

namespace fft {
namespace {

constexpr int64_t kMaxLength = int64_t{1} << 40;  // of u, k and y: 4 TiB a row

void check_length(const char* what, int64_t length, int64_t least) {
  if (length < least || length > kMaxLength)
    throw Error(Code::invalid_argument, std::string(what) + " has rows of " + std::to_string(length) +
                                            " elements; allowed are " + std::to_string(least) + " to 2^40");
}

}  // namespace

Map make_map(const FftConvDesc& d) {
  if (d.dtype != DType::float32 && d.dtype != DType::float64)
    throw Error(Code::type_error, std::string("dtype is ") + name(d.dtype) + "; supported are float32 and float64");
  check_length("u", d.length, 1);
  check_length("k", d.taps, 1);
  check_length("k_rev", d.reverse_taps, 0);
  Map m;
  m.in = m.out = d.length;
  m.lo = -std::max<int64_t>(d.reverse_taps - 1, 0);
  m.hi = d.taps - 1;
  switch (d.mode) {
    case FftMode::causal: break;
    case FftMode::same: m.t0 = d.taps / 2; break;
    case FftMode::full: m.out = d.length + d.taps - 1; break;
    case FftMode::valid:
      if (d.taps > d.length)
        throw Error(Code::invalid_argument, "k has " + std::to_string(d.taps) + " taps and u rows of " +
                                                std::to_string(d.length) + ": mode 'valid' has no output");
      m.t0 = d.taps - 1;
      m.out = d.length - d.taps + 1;
      break;
    case FftMode::circular:
      m.circular = true;
      if (m.span() >= d.length) {  // taps fold
        m.lo = 0;
        m.hi = d.length - 1;
      }
      return m;
  }
  m.lo = std::max(m.lo, m.t0 - (m.in - 1));
  m.hi = std::min(m.hi, m.t0 + m.out - 1);
  return m;
}

Geometry whole_geometry(const Map& m, int lanes) {
  Geometry g;
  if (m.circular) {  // rows are read past their ends instead
    g.points = cheapest_points((m.out + m.span() + 1) / 2, lanes);
    g.first = m.t0 - m.hi;
    g.origin = m.lo;
    g.shift = m.span();
  } else {
    // Outputs from position 0 on, and the least lags: a real row that fits points elements then needs no second half.
    g.origin = std::min(std::max<int64_t>(m.lo, 0), m.t0);
    const int64_t t0 = m.t0 - g.origin, lo = m.lo - g.origin, hi = m.hi - g.origin;
    const int64_t length = std::max({m.in, m.in + hi - t0, t0 + m.out - lo, t0 + m.out, hi + 1, 1 - lo});
    g.points = cheapest_points((length + 1) / 2, lanes);
    g.shift = t0;
  }
  g.step = m.out;
  return g;
}

Geometry block_geometry(const Map& m, int lanes, int item_size) {
  // Data of a block stay within half of an L2 cache of 512 KiB; twice that if kernels are long.
  Geometry best;
  double cost = std::numeric_limits<double>::infinity();
  const int64_t unit = int64_t{2} * lanes * lanes;
  for (int64_t points = unit; points * 2 * item_size <= (int64_t{256} << 10); points *= 2) {
    Geometry g;
    g.points = points;
    g.step = 2 * points - m.span();
    if (g.step < points / 4) continue;
    g.blocks = (m.out + g.step - 1) / g.step;
    g.first = m.t0 - m.hi;
    g.origin = m.lo;
    g.shift = m.span();
    const double c = geometry_cost(g, lanes, item_size);
    if (c < cost) {
      cost = c;
      best = g;
    }
  }
  return best;
}

Geometry direct_geometry(const Map& m, int item_size) {
  Geometry g;
  g.taps = m.span() + 1;
  g.step = (int64_t{16} << 10) / item_size;
  g.blocks = (m.out + g.step - 1) / g.step;
  g.first = m.t0 - m.hi;
  return g;
}

double direct_cost(const Map& m, int lanes) {
  // In the units of transform_cost, fitted to a Skylake server at every width: kernels of 70 taps break even with
  // AVX-512, of 60 with AVX2. Outputs come in pairs of vectors.
  const int64_t pair = 2 * lanes;
  return double((m.out + pair - 1) / pair * pair) * (2 + (0.08 + 0.16 / lanes) * double(m.span() + 1));
}

double geometry_cost(const Geometry& g, int lanes, int item_size) {
  return g.points == 0 ? 0 : double(g.blocks) * transform_cost(g.points, lanes, item_size);
}

}  // namespace fft
}  // namespace omniconv
