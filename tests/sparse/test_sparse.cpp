// Sparse maps and convolution from C++: pairs by the definition, sums by float64, errors
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include "omniconv/context.hpp"
#include "omniconv/sparse.hpp"
#include "omniconv/spikes.hpp"

namespace omniconv {
namespace {

using Triple = std::tuple<int32_t, int32_t, int64_t>;

SharedSites random_sites(int rows, int side, unsigned seed) {
  std::mt19937 rng(seed);
  std::set<std::array<int32_t, 3>> cells;
  while (int(cells.size()) < rows)
    cells.insert({int32_t(rng() % 2), int32_t(rng() % unsigned(side)), int32_t(rng() % 300) - 150});
  std::vector<std::array<int32_t, 3>> list(cells.begin(), cells.end());
  std::shuffle(list.begin(), list.end(), rng);
  return std::make_shared<const SparseSites>(list[0].data(), rows, 2);
}

std::set<Triple> pairs_of(const SparseMap& map) {
  std::set<Triple> found;
  for (size_t i = 0; i < map.tiles().size(); ++i)
    for (int64_t tap = 0; tap < map.taps(); ++tap)
      for (int32_t p = map.tiles()[i].begin[size_t(tap)]; p < map.tiles()[i].begin[size_t(tap) + 1]; ++p)
        found.insert(
            {map.tiles()[i].pairs[size_t(p)].in, map.out_row(int64_t(i), map.tiles()[i].pairs[size_t(p)].out), tap});
  EXPECT_EQ(int64_t(found.size()), map.pairs());
  return found;
}

std::set<Triple> by_definition(const SparseSites& in, const SparseSites& out, const SparseWindow& w) {
  std::map<std::array<int64_t, 3>, int32_t> rows;
  for (int32_t i = 0; i < in.rows(); ++i)
    rows[{in.coords()[size_t(i) * 3], in.coords()[size_t(i) * 3 + 1], in.coords()[size_t(i) * 3 + 2]}] = i;
  std::set<Triple> found;
  for (int32_t o = 0; o < out.rows(); ++o)
    for (int64_t a = 0; a < w.kernel[0]; ++a)
      for (int64_t b = 0; b < w.kernel[1]; ++b) {
        const int32_t* at = &out.coords()[size_t(o) * 3];
        const auto hit = rows.find({at[0], at[1] * w.stride[0] + a * w.dilation[0] - w.padding[0],
                                    at[2] * w.stride[1] + b * w.dilation[1] - w.padding[1]});
        if (hit != rows.end()) found.insert({hit->second, o, a * w.kernel[1] + b});
      }
  return found;
}

TEST(Sparse, PairsAreThoseOfTheDefinitionOnEveryIsa) {
  const SharedSites in = random_sites(2000, 20, 1);
  const Isa before = current_isa();
  for (const int64_t stride : {1, 2, 3})
    for (const int64_t dilation : {1, 40}) {
      SparseWindow w;
      w.kernel = {3, 4, 1, 1}, w.stride = {stride, stride, 1, 1}, w.padding = {1, 70, 0, 0},
      w.dilation = {2, dilation, 1, 1};
      const SharedSites out = stride == 1 ? in : reached_sites(*in, w, false);
      const std::set<Triple> want = by_definition(*in, *out, w);
      for (const Isa isa : available_isas()) {
        set_isa(isa);
        EXPECT_EQ(pairs_of(SparseMap(in, out, w)), want) << name(isa);
      }
      const SparseMap map(in, out, w);
      std::set<Triple> turned;
      for (const auto& [i, o, t] : want) turned.insert({o, i, t});
      EXPECT_EQ(pairs_of(map.adjoint()), turned);
    }
  set_isa(before);
}

TEST(Sparse, FloatAndDoubleAgreeOnEveryIsa) {
  const SharedSites sites = random_sites(1200, 9, 2);
  SparseWindow w;
  w.kernel = {3, 3, 1, 1}, w.padding = {1, 1, 0, 0};
  const SparseMap map(sites, sites, w);
  const int64_t ins = 19, outs = 37;
  std::mt19937 rng(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(size_t(1200 * ins)), weight(size_t(outs * ins * 9)), y(size_t(1200 * outs), NAN);
  for (float& v : x) v = normal(rng);
  for (float& v : weight) v = normal(rng);
  std::vector<double> xd(x.begin(), x.end()), wd(weight.begin(), weight.end()), yd(y.size());
  sparse_convolve(map, {xd.data(), {1200, ins}}, {wd.data(), {outs, ins, 9}}, 1, {}, {yd.data(), {1200, outs}});
  const Isa before = current_isa();
  for (const Isa isa : available_isas()) {
    set_isa(isa);
    sparse_convolve(map, {x.data(), {1200, ins}}, {weight.data(), {outs, ins, 9}}, 1, {}, {y.data(), {1200, outs}});
    double error = 0, size = 0;
    for (size_t i = 0; i < y.size(); ++i) error += (y[i] - yd[i]) * (y[i] - yd[i]), size += yd[i] * yd[i];
    EXPECT_LT(std::sqrt(error / size), 1e-6) << name(isa);
  }
  set_isa(before);
}

TEST(Sparse, ErrorsNameTheArgument) {
  const int32_t twice[] = {0, 1, 0, 1};
  const auto sites = std::make_shared<const SparseSites>(twice, 2, 1);
  EXPECT_EQ(sites->distinct(), 1);
  EXPECT_THROW(SparseMap(sites, sites, {}), Error);
  const int32_t negative[] = {-1, 1};
  EXPECT_THROW(SparseSites(negative, 1, 1), Error);
  EXPECT_THROW(SparseSites(negative, 1, 5), Error);
}

TEST(Spikes, SumsAreExactOnEveryIsaByEveryAlgorithm) {
  const SharedSites sites = random_sites(1100, 24, 3);
  SparseWindow w;
  w.kernel = {3, 3, 1, 1}, w.padding = {1, 1, 0, 0};
  const SparseMap map(sites, sites, w);
  const int64_t ins = 50, outs = 70;
  std::mt19937 rng(4);
  std::vector<uint8_t> counts(size_t(sites->rows() * ins));
  std::vector<int8_t> weight(size_t(outs * ins * 9));
  for (uint8_t& c : counts) c = rng() % 3 ? 0 : uint8_t(1 + rng() % 4);
  for (int8_t& v : weight) v = int8_t(rng() % 256);
  const SpikeWeight packed(weight.data(), outs, ins, 9);
  const SpikeRows x{counts.data(), 1, sites->rows(), ins, 4};
  const auto run = [&](SpikeAlgorithm algorithm) {
    std::vector<int32_t> sums(size_t(sites->rows() * outs), -77);
    SpikeResult result;
    result.sums = sums.data();
    spike_convolve(map, x, packed, result, algorithm);
    return sums;
  };
  const Isa before = current_isa();
  const std::vector<int32_t> want = run(SpikeAlgorithm::reference);
  for (const Isa isa : available_isas()) {
    set_isa(isa);
    for (const SpikeAlgorithm a : {SpikeAlgorithm::dense, SpikeAlgorithm::events, SpikeAlgorithm::automatic})
      EXPECT_EQ(run(a), want) << name(isa) << " " << int(a);
  }
  set_isa(before);
  SpikeResult none;
  EXPECT_THROW(spike_convolve(map, {counts.data(), 1, 5, ins, 4}, packed, none), Error);
  EXPECT_THROW(SpikeWeight(weight.data(), outs, 70000, 1), Error);
}

}  // namespace
}  // namespace omniconv
