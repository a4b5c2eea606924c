// fft/rate.cpp -- half-band filters, how often they pay, and the steps of a row through them
#include "fft/rate.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "core/thread_pool.hpp"
#include "omniconv/status.hpp"

namespace omniconv::fft {
namespace {

// A halving has to save a tenth: what is predicted is not that exact.
constexpr double kWorthwhile = 0.9;

constexpr int kMaxHalvings = 30;

double bessel_i0(double x) {
  double term = 1, sum = 1;
  for (int i = 1; term > 1e-17 * sum; ++i) {
    term *= x / (2 * i) * (x / (2 * i));
    sum += term;
  }
  return sum;
}

int64_t floor_half(int64_t n) { return n >= 0 ? n / 2 : -((1 - n) / 2); }

template <class Body>
void chunks(int64_t begin, int64_t end, int threads, Body&& body) {
  if (threads == 1) return body(begin, end);
  const int64_t chunk =
      std::max<int64_t>(1, (end - begin) / (4 * threads) / kHalfBandBlock) * kHalfBandBlock;  // no vector crosses
  parallel_for((end - begin + chunk - 1) / chunk, threads,
               [&](int64_t task, int) { body(begin + task * chunk, std::min(end, begin + (task + 1) * chunk)); });
}

}  // namespace

// J. F. Kaiser, "Nonrecursive digital filter design using the I0-sinh window function" (1974): his formulas for length
// and shape from attenuation and transition band.
std::vector<double> half_band_taps(DType dtype, double keep) {
  const double decibels = dtype == DType::float32 ? 145 : 325, band = 0.5 - keep;
  if (band <= 0) return {};
  const double reach = (decibels - 7.95) / (14.36 * band) / 2;  // taps on each side, zeros among them
  const int taps = int(std::ceil((reach + 1) / 2));
  if (taps > kMaxHalfBandTaps) return {};
  const double beta = 0.1102 * (decibels - 8.7);
  std::vector<double> all(taps);
  for (int j = 0; j < taps; ++j) {
    const double place = 2 * j + 1, x = place / (2 * taps);
    const double window = bessel_i0(beta * std::sqrt(1 - x * x)) / bessel_i0(beta);
    const double tap = (j % 2 ? -1 : 1) / (std::numbers::pi * place) * window;
    all[j] = dtype == DType::float32 ? double(float(tap)) : tap;
  }
  return all;
}

std::vector<RateLevel> rate_levels(DType dtype, int64_t length, double keep, int halvings) {
  std::vector<RateLevel> levels{{0, length}};
  for (int i = 0; i < halvings; ++i, keep *= 2) {
    const int64_t reach = 2 * int64_t(half_band_taps(dtype, keep).size()) - 1;
    const RateLevel& l = levels.back();
    levels.push_back({-floor_half(reach - l.first), floor_half(l.end - 1 + reach) + 1});
  }
  return levels;
}

double rate_cost(DType dtype, int64_t length, double keep, int halvings, int lanes) {
  const std::vector<RateLevel> levels = rate_levels(dtype, length, keep, halvings);
  double cost = 0;  // fitted to a Skylake server with AVX-512, rows of 2^12 to 2^20, keep 1/4 to 1/16
  for (int i = 0; i < halvings; ++i, keep *= 2) {
    const double taps = double(half_band_taps(dtype, keep).size());
    cost += 2 * (2000 + double(levels[i + 1].count()) * (3.2 + (0.26 + 0.5 / lanes) * taps));
  }
  return cost;
}

Map map_of(const FftConvDesc& d) {
  if (d.halvings == 0) return make_map(d);
  const auto invalid = [&](const std::string& why) {
    throw Error(Code::invalid_argument, "halvings is " + std::to_string(d.halvings) + why);
  };
  if (d.halvings < 0 || d.halvings > kMaxHalvings || !(d.keep > 0) ||
      half_band_taps(d.dtype, std::ldexp(d.keep, d.halvings - 1)).empty())
    invalid(" for rows that keep " + std::to_string(d.keep) + " of their frequencies: no filter leaves those alone");
  FftConvDesc low = d;
  low.length = rate_levels(d.dtype, std::max<int64_t>(d.length, 1), d.keep, d.halvings).back().count();
  if (d.mode != FftMode::causal || d.taps != low.length || d.reverse_taps != low.length)
    invalid(", which needs mode 'causal' and as many taps and reverse_taps as a row has samples at the lower rate, " +
            std::to_string(low.length));
  return make_map(low);
}

int best_halvings(DType dtype, int64_t length, double keep, int lanes) {
  const int size = dtype == DType::float32 ? 4 : 8;
  const auto transforms = [&](int64_t n) {
    Map both;  // lags both ways
    both.in = both.out = n;
    both.lo = 1 - n;
    both.hi = n - 1;
    return geometry_cost(whole_geometry(both, lanes), lanes, size);
  };
  int best = 0;
  double least = kWorthwhile * transforms(length);
  double kept = keep;
  for (int h = 1; h <= kMaxHalvings && 2 * length % (int64_t{1} << h) == 0 && !half_band_taps(dtype, kept).empty();
       ++h, kept *= 2) {
    const int64_t n = rate_levels(dtype, length, keep, h).back().count();
    const double cost = rate_cost(dtype, length, keep, h, lanes) + transforms(n);
    if (cost < least) {
      best = h;
      least = cost;
    }
  }
  return best;
}

template <class T>
Rate<T>::Rate(const FftConvDesc& d, const Kernels<T>& kernels)
    : kernels_(kernels), levels_(rate_levels(d.dtype, d.length, d.keep, d.halvings)), at_{0} {
  double keep = d.keep;
  for (int i = 0; i < d.halvings; ++i, keep *= 2) {
    const std::vector<double> taps = half_band_taps(d.dtype, keep);
    taps_.emplace_back(taps.begin(), taps.end());
    at_.push_back(items_);
    // Both kernels go on past the end by as much as they do at a time, and up() reads its taps from there.
    items_ += (levels_[i + 1].count() + 2 * kHalfBandVectors * kernels.lanes + int64_t(taps.size()) + 15) / 16 * 16;
  }
}

template <class T>
void Rate<T>::down(const LoadArgs<T>& in, T* room, int threads) const {
  Source<T> from = in.source;
  from.first = 0;
  for (size_t i = 0; i < taps_.size(); ++i) {
    const RateLevel& to = levels_[i + 1];
    HalveArgs<T> args{from, taps_[i].data(), int(taps_[i].size()), 0, 0, room + at_[i + 1] - to.first};
    if (i == 0) args.touch = in.touch;
    chunks(to.first, to.end, threads, [&](int64_t begin, int64_t end) {
      HalveArgs<T> some = args;
      some.begin = begin;
      some.end = end;
      kernels_.halve(some);
    });
    from = {room + at_[i + 1], nullptr, to.count(), -to.first, 0, 0};
  }
}

template <class T>
void Rate<T>::up(const StoreArgs<T>& out, T* room, int threads) const {
  for (size_t i = taps_.size(); i-- > 0;) {
    const RateLevel &from = levels_[i + 1], &to = levels_[i];
    StoreArgs<T> store{};
    if (i == 0) {
      store = out;
    } else {
      store.y = room + at_[i] - to.first;
      store.first = to.first;
      store.last = to.end;
    }
    chunks(floor_half(to.first), floor_half(to.end - 1) + 1, threads, [&](int64_t begin, int64_t end) {
      kernels_.twice({room + at_[i + 1] - from.first, taps_[i].data(), int(taps_[i].size()), begin, end, store});
    });
  }
}

template class Rate<float>;
template class Rate<double>;

}  // namespace omniconv::fft
