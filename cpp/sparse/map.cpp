// sparse/map.cpp -- which rows meet under which tap
//
// Stride 1: the last axis is cut into lines of 64 places, a line being a key and a mask of the places that are occupied.
// Shifting the sorted lines by a tap keeps their order, so a merge finds the partner of each; one AND of two masks is
// then all the pairs of a line. A sweep of a LiDAR has 6 pairs per site among 27 taps: the cost is that of 9 merges over
// the lines and of the pairs that exist, not of 27 lookups per site.
// Other strides: a merge of the keys of the outputs, scaled, with those of the inputs for each tap.
#include <algorithm>
#include <string>

#include "core/thread_pool.hpp"
#include "sparse/keys.hpp"

namespace omniconv {
namespace sparse {
namespace {

using Pair = SparseMap::Pair;
using Tile = SparseMap::Tile;
constexpr int64_t kTile = SparseMap::kTile;

struct Line {
  uint64_t key;
  uint64_t mask;
  int64_t first;  // position of its first site
};

// The taps' offsets c: in = stride * out + c, per axis.
struct Offsets {
  int dims;
  int64_t taps = 1;
  std::array<int64_t, kMaxSparseDims> kernel{1, 1, 1, 1}, low{}, step{};

  Offsets(const SparseWindow& w, int dims) : dims(dims) {
    for (size_t a = 0; a < size_t(dims); ++a) {
      kernel[a] = w.kernel[a];
      low[a] = -w.padding[a];
      step[a] = w.dilation[a];
      taps *= kernel[a];
    }
  }
  int64_t high(size_t a) const { return low[a] + step[a] * (kernel[a] - 1); }
  int64_t of(size_t a, int64_t tap) const {
    for (size_t i = size_t(dims) - 1; i > a; --i) tap /= kernel[i];
    return low[a] + step[a] * (tap % kernel[a]);
  }
};

// Ranges that hold the inputs, and every input that a tap could ask for.
void find_ranges(const SparseSites& in, const SparseSites& out, const SparseWindow& w, const Offsets& offsets,
                 Range* ranges) {
  const size_t columns = size_t(1 + in.dims());
  for (size_t at = 0; at < in.coords().size(); at += columns)
    for (size_t c = 0; c < columns; ++c) ranges[c].take(in.coords()[at + c]);
  Range outs[kMaxColumns];
  for (size_t at = 0; at < out.coords().size(); at += columns)
    for (size_t c = 0; c < columns; ++c) outs[c].take(out.coords()[at + c]);
  if (outs[0].empty()) return;
  ranges[0].take(outs[0].low), ranges[0].take(outs[0].high);
  for (size_t a = 0; a + 1 < columns; ++a) {
    ranges[a + 1].take(w.stride[a] * outs[a + 1].low + offsets.low[a]);
    ranges[a + 1].take(w.stride[a] * outs[a + 1].high + offsets.high(a));
    // Where a tap is wider than the list, its shift alone has to fit.
    ranges[a + 1].take(w.stride[a] * outs[a + 1].low + offsets.high(a));
    ranges[a + 1].take(w.stride[a] * outs[a + 1].high + offsets.low[a]);
  }
}

void gather(Tile& tile, std::vector<Pair>& pairs, const std::vector<int32_t>& counts) {
  const size_t taps = counts.size();
  tile.begin.resize(taps + 1);
  int64_t total = 0;
  for (size_t t = 0; t < taps; ++t) tile.begin[t] = int32_t(total), total += counts[t];
  tile.begin[taps] = int32_t(total);
  tile.pairs.resize(size_t(total));
  for (size_t t = 0; t < taps; ++t)
    std::copy_n(pairs.begin() + ptrdiff_t(t) * kTile, counts[t], tile.pairs.begin() + tile.begin[t]);
}

// ---- stride 1 ----------------------------------------------------------------------------------------------------

std::vector<Line> cut_lines(const SparseSites& sites, const Packing& prefix, int64_t last_low, bool at_tiles) {
  const int columns = 1 + sites.dims();
  std::vector<Line> lines;
  lines.reserve(size_t(sites.rows()) / 2 + 1);
  for (int64_t i = 0; i < sites.rows(); ++i) {
    const int32_t* site = &sites.coords()[size_t(sites.order()[size_t(i)]) * size_t(columns)];
    const uint64_t last = uint64_t(site[columns - 1] - last_low);
    int32_t reduced[kMaxColumns];
    std::copy_n(site, columns - 1, reduced);
    reduced[columns - 1] = int32_t(last >> 6);
    const uint64_t key = prefix.key(reduced);
    if (lines.empty() || lines.back().key != key || (at_tiles && i % kTile == 0)) lines.push_back({key, 0, i});
    lines.back().mask |= uint64_t{1} << (last & 63);
  }
  return lines;
}

class LineMatcher {
 public:
  LineMatcher(const SparseSites& in, const SparseSites& out, const SparseWindow& w, const Offsets& offsets)
      : offsets_(offsets), order_(in.order()), dims_(size_t(in.dims())), packing_(nullptr, 0) {
    Range ranges[kMaxColumns];
    find_ranges(in, out, w, offsets, ranges);
    Range& last = ranges[dims_];
    // An empty line below all others and one above: a shift by part of a line names the neighbour of one that counts.
    const int64_t last_low = last.empty() ? 0 : last.low - 64;
    if (!last.empty()) last = {0, ((last.high - last_low) >> 6) + 1};
    packing_ = Packing(ranges, int(dims_) + 1);
    ins_ = cut_lines(in, packing_, last_low, false);
    outs_ = cut_lines(out, packing_, last_low, true);
    const size_t tiles = size_t((out.rows() + kTile - 1) / kTile);
    first_.reserve(tiles + 1);
    for (size_t i = 0; i < outs_.size(); ++i)
      if (outs_[i].first % kTile == 0) first_.push_back(i);
    first_.push_back(outs_.size());
  }

  void match(int64_t tile, std::vector<Pair>& pairs, std::vector<int32_t>& counts) const {
    const int64_t inner = offsets_.kernel[dims_ - 1];
    std::fill(counts.begin(), counts.end(), 0);
    for (int64_t prefix = 0; prefix < offsets_.taps / inner; ++prefix) {
      uint64_t delta = 0;
      for (size_t a = 0; a + 1 < dims_; ++a)
        delta += uint64_t(offsets_.of(a, prefix * inner)) << packing_.shift[a + 1];
      match_row(tile, delta, prefix * inner, pairs, counts);
    }
  }

 private:
  void match_row(int64_t tile, uint64_t delta, int64_t tap, std::vector<Pair>& pairs,
                 std::vector<int32_t>& counts) const {
    const size_t begin = first_[size_t(tile)], end = first_[size_t(tile) + 1];
    const int64_t inner = offsets_.kernel[dims_ - 1], low = offsets_.low[dims_ - 1], step = offsets_.step[dims_ - 1];
    const uint64_t below = delta + uint64_t(low >> 6);  // the field's borrow is undone by adding the output's key
    const int64_t span = (offsets_.high(dims_ - 1) >> 6) - (low >> 6) + 1;
    const auto before = [](const Line& line, uint64_t key) { return line.key < key; };
    size_t at = size_t(std::lower_bound(ins_.begin(), ins_.end(), outs_[begin].key + below, before) - ins_.begin());
    for (size_t o = begin; o < end; ++o) {
      const uint64_t key = outs_[o].key + below;
      while (at < ins_.size() && ins_[at].key < key) ++at;
      if (at == ins_.size()) return;
      if (ins_[at].key > key + uint64_t(span)) continue;
      size_t near = at;
      for (int64_t t = 0; t < inner; ++t) {
        const int64_t c = low + step * t;
        const uint64_t wanted = outs_[o].key + delta + uint64_t(c >> 6);
        while (near < ins_.size() && ins_[near].key < wanted) ++near;
        int32_t& count = counts[size_t(tap + t)];
        Pair* to = pairs.data() + (tap + t) * kTile;
        count = emit(outs_[o], near, wanted, unsigned(c & 63), to, count);
      }
    }
  }

  // Pairs of one line of outputs with the inputs `shift` places behind the start of line `wanted`.
  int32_t emit(const Line& out, size_t near, uint64_t wanted, unsigned shift, Pair* to, int32_t count) const {
    const Line *here = nullptr, *behind = nullptr;
    if (near < ins_.size() && ins_[near].key == wanted) here = &ins_[near++];
    if (shift && near < ins_.size() && ins_[near].key == wanted + 1) behind = &ins_[near];
    const int32_t first = int32_t(out.first % kTile);
    const auto lower = [](unsigned bit) { return (uint64_t{1} << bit) - 1; };
    uint64_t found = here ? out.mask & (here->mask >> shift) : 0;
    for (; found; found &= found - 1) {
      const unsigned bit = unsigned(std::countr_zero(found));
      const int64_t in = here->first + std::popcount(here->mask & lower(bit + shift));
      to[count++] = {order_[size_t(in)], first + std::popcount(out.mask & lower(bit))};
    }
    found = behind ? out.mask & (behind->mask << (64 - shift)) : 0;
    for (; found; found &= found - 1) {
      const unsigned bit = unsigned(std::countr_zero(found));
      const int64_t in = behind->first + std::popcount(behind->mask & lower(bit + shift - 64));
      to[count++] = {order_[size_t(in)], first + std::popcount(out.mask & lower(bit))};
    }
    return count;
  }

  Offsets offsets_;
  const std::vector<int32_t>& order_;
  size_t dims_;
  Packing packing_;
  std::vector<Line> ins_, outs_;
  std::vector<size_t> first_;  // line that opens each tile
};

// ---- any stride --------------------------------------------------------------------------------------------------

class KeyMatcher {
 public:
  KeyMatcher(const SparseSites& in, const SparseSites& out, const SparseWindow& w, const Offsets& offsets)
      : offsets_(offsets), order_(in.order()), dims_(size_t(in.dims())), packing_(nullptr, 0) {
    Range ranges[kMaxColumns];
    find_ranges(in, out, w, offsets, ranges);
    packing_ = Packing(ranges, int(dims_) + 1);
    const size_t columns = dims_ + 1;
    ins_.resize(size_t(in.rows()));
    outs_.resize(size_t(out.rows()));
    for (size_t i = 0; i < ins_.size(); ++i) ins_[i] = packing_.key(&in.coords()[size_t(order_[i]) * columns]);
    for (size_t i = 0; i < outs_.size(); ++i) {
      const int32_t* site = &out.coords()[size_t(out.order()[i]) * columns];
      outs_[i] = uint64_t(site[0] - packing_.low[0]) << packing_.shift[0];
      for (size_t a = 0; a < dims_; ++a)
        outs_[i] += uint64_t(w.stride[a] * site[a + 1] - packing_.low[a + 1]) << packing_.shift[a + 1];
    }
  }

  void match(int64_t tile, std::vector<Pair>& pairs, std::vector<int32_t>& counts) const {
    const size_t begin = size_t(tile * kTile), end = std::min(outs_.size(), begin + size_t(kTile));
    std::fill(counts.begin(), counts.end(), 0);
    for (int64_t tap = 0; tap < offsets_.taps; ++tap) {
      uint64_t delta = 0;
      for (size_t a = 0; a < dims_; ++a) delta += uint64_t(offsets_.of(a, tap)) << packing_.shift[a + 1];
      Pair* to = pairs.data() + tap * kTile;
      int32_t count = 0;
      size_t at = size_t(std::lower_bound(ins_.begin(), ins_.end(), outs_[begin] + delta) - ins_.begin());
      for (size_t o = begin; o < end && at < ins_.size(); ++o) {
        const uint64_t wanted = outs_[o] + delta;
        while (at < ins_.size() && ins_[at] < wanted) ++at;
        if (at < ins_.size() && ins_[at] == wanted) to[count++] = {order_[at], int32_t(o - begin)};
      }
      counts[size_t(tap)] = count;
    }
  }

 private:
  Offsets offsets_;
  const std::vector<int32_t>& order_;
  size_t dims_;
  Packing packing_;
  std::vector<uint64_t> ins_, outs_;
};

template <class Matcher>
void match_tiles(const Matcher& matcher, int64_t taps, std::vector<Tile>& tiles) {
  // A thread takes runs of tiles, so that its scratch is laid out once for many.
  constexpr int64_t kRun = 8;
  parallel_for((int64_t(tiles.size()) + kRun - 1) / kRun, [&](int64_t run, int) {
    std::vector<Pair> pairs(size_t(taps * kTile));
    std::vector<int32_t> counts(static_cast<size_t>(taps));
    for (int64_t i = run * kRun; i < std::min(int64_t(tiles.size()), (run + 1) * kRun); ++i) {
      matcher.match(i, pairs, counts);
      gather(tiles[size_t(i)], pairs, counts);
    }
  });
}

void check(const SparseSites& in, const SparseSites& out, const SparseWindow& w) {
  if (in.dims() != out.dims())
    throw Error(Code::invalid_argument, "the output has " + std::to_string(out.dims()) + " axes and the input " +
                                            std::to_string(in.dims()));
  for (const SparseSites* sites : {&in, &out})
    if (sites->distinct() != sites->rows())
      throw Error(Code::invalid_argument, "coords hold " + std::to_string(sites->rows() - sites->distinct()) +
                                              " duplicates; a map needs distinct sites");
  int64_t taps = 1;
  constexpr int64_t kMost = int64_t{1} << 30;
  const auto require = [](bool fine, const char* what, int64_t found, const char* allowed) {
    if (!fine)
      throw Error(Code::invalid_argument,
                  std::string(what) + " is " + std::to_string(found) + "; allowed is " + allowed);
  };
  for (size_t a = 0; a < size_t(in.dims()); ++a) {
    require(w.kernel[a] >= 1 && w.kernel[a] <= 4096, "kernel_size", w.kernel[a], "1 to 4096");
    require(w.stride[a] >= 1 && w.stride[a] < kMost, "stride", w.stride[a], "1 to 2^30");
    require(w.dilation[a] >= 1 && w.dilation[a] < kMost, "dilation", w.dilation[a], "1 to 2^30");
    require(w.padding[a] > -kMost && w.padding[a] < kMost, "padding", w.padding[a], "-2^30 to 2^30");
    taps *= w.kernel[a];
    require(taps <= 65536, "the number of taps", taps, "1 to 65536");
  }
}

}  // namespace
}  // namespace sparse

SparseMap::SparseMap(SharedSites in, SharedSites out, const SparseWindow& window)
    : in_(std::move(in)), out_(std::move(out)) {
  sparse::check(*in_, *out_, window);
  const sparse::Offsets offsets(window, in_->dims());
  taps_ = offsets.taps;
  tiles_.resize(size_t((out_->rows() + kTile - 1) / kTile));
  const bool unit = std::all_of(window.stride.begin(), window.stride.begin() + in_->dims(),
                                [](int64_t s) { return s == 1; });
  if (unit)
    sparse::match_tiles(sparse::LineMatcher(*in_, *out_, window, offsets), taps_, tiles_);
  else
    sparse::match_tiles(sparse::KeyMatcher(*in_, *out_, window, offsets), taps_, tiles_);
}

int64_t SparseMap::pairs() const {
  int64_t sum = 0;
  for (const Tile& tile : tiles_) sum += int64_t(tile.pairs.size());
  return sum;
}

std::vector<int64_t> SparseMap::tap_pairs() const {
  std::vector<int64_t> sums(static_cast<size_t>(taps_));
  for (const Tile& tile : tiles_)
    for (size_t t = 0; t < sums.size(); ++t) sums[t] += tile.begin[t + 1] - tile.begin[t];
  return sums;
}

// Under one tap inputs ascend with outputs, so a bucket per tile and tap, filled in order, is in order.
SparseMap SparseMap::adjoint() const {
  SparseMap map;
  map.in_ = out_, map.out_ = in_, map.taps_ = taps_;
  map.tiles_.resize(size_t((in_->rows() + kTile - 1) / kTile));
  std::vector<int32_t> place(in_->order().size());
  for (size_t i = 0; i < place.size(); ++i) place[size_t(in_->order()[i])] = int32_t(i);
  for (Tile& tile : map.tiles_) tile.begin.assign(size_t(taps_) + 1, 0);
  const auto each = [&](size_t t, auto&& body) {
    for (size_t i = 0; i < tiles_.size(); ++i)
      for (int32_t p = tiles_[i].begin[t]; p < tiles_[i].begin[t + 1]; ++p) {
        const Pair pair = tiles_[i].pairs[size_t(p)];
        const int32_t at = place[size_t(pair.in)];
        body(map.tiles_[size_t(at / kTile)], Pair{out_row(int64_t(i), pair.out), int32_t(at % kTile)});
      }
  };
  parallel_for(taps_, [&](int64_t t, int) { each(size_t(t), [&](Tile& tile, Pair) { ++tile.begin[size_t(t) + 1]; }); });
  for (Tile& tile : map.tiles_) {
    for (size_t t = 0; t < size_t(taps_); ++t) tile.begin[t + 1] += tile.begin[t];
    tile.pairs.resize(size_t(tile.begin.back()));
  }
  parallel_for(taps_, [&](int64_t t, int) {
    std::vector<int32_t> next(map.tiles_.size());
    for (size_t i = 0; i < next.size(); ++i) next[i] = map.tiles_[i].begin[size_t(t)];
    each(size_t(t), [&](Tile& tile, Pair pair) { tile.pairs[size_t(next[size_t(&tile - map.tiles_.data())]++)] = pair; });
  });
  return map;
}

}  // namespace omniconv
