// sparse/map.cpp -- which rows meet under which tap
//
// Stride 1: the last axis is cut into lines of 64 places, a line being a key and a mask of the places that are
// occupied. Shifting the sorted lines by a tap keeps their order, so a merge finds the partner of each; one AND of two
// masks is then all the pairs of a line. A sweep of a LiDAR has 6 pairs per site among 27 taps: the cost is that of 9
// merges over the lines and of the pairs that exist, not of 27 lookups per site. Other strides: a merge of the keys of
// the outputs, scaled, with those of the inputs for each tap.
#include <algorithm>
#include <string>

#include "core/thread_pool.hpp"
#include "core/workspace.hpp"
#include "sparse/kernels.hpp"
#include "sparse/keys.hpp"

namespace omniconv {
namespace sparse {
namespace {

using Pair = SparseMap::Pair;
using Tile = SparseMap::Tile;
constexpr int64_t kTile = SparseMap::kTile;

static_assert(sizeof(SparsePair) == sizeof(Pair));

// Memory for as many lines as there are sites is the thread's own, kept between maps: that of a sweep, fetched page by
// page from the system each time, took as long as a third of the merging.
struct Lines {
  uint64_t *keys, *masks;
  int64_t* first;
  int64_t count = 0;

  static size_t bytes(int64_t sites) { return size_t(sites) * 3 * sizeof(int64_t); }
  Lines(void* memory, int64_t sites)
      : keys(static_cast<uint64_t*>(memory)), masks(keys + sites), first(reinterpret_cast<int64_t*>(masks + sites)) {}
  LineList list() const { return {keys, masks, first, count}; }
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
  if (&in == &out) std::copy_n(ranges, columns, outs);
  for (size_t at = 0; &in != &out && at < out.coords().size(); at += columns)
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

void gather(Tile& tile, const Pair* pairs, const std::vector<int32_t>& counts) {
  const size_t taps = counts.size();
  tile.begin.resize(taps + 1);
  int64_t total = 0;
  for (size_t t = 0; t < taps; ++t) tile.begin[t] = int32_t(total), total += counts[t];
  tile.begin[taps] = int32_t(total);
  tile.pairs.reserve(size_t(total));
  for (size_t t = 0; t < taps; ++t)
    tile.pairs.insert(tile.pairs.end(), pairs + int64_t(t) * kTile, pairs + int64_t(t) * kTile + counts[t]);
}

// ---- stride 1 ----------------------------------------------------------------------------------------------------

void cut_lines(const SparseSites& sites, const Packing& prefix, int64_t last_low, bool at_tiles, Lines& lines) {
  const int columns = 1 + sites.dims();
  int64_t at = -1;
  for (int64_t i = 0; i < sites.rows(); ++i) {
    const int32_t* site = &sites.coords()[size_t(sites.order()[size_t(i)]) * size_t(columns)];
    const uint64_t last = uint64_t(site[columns - 1] - last_low);
    int32_t reduced[kMaxColumns];
    std::copy_n(site, columns - 1, reduced);
    reduced[columns - 1] = int32_t(last >> 6);
    const uint64_t key = prefix.key(reduced);
    if (at < 0 || lines.keys[at] != key || (at_tiles && i % kTile == 0)) {
      ++at;
      lines.keys[at] = key, lines.masks[at] = 0, lines.first[at] = i;
    }
    lines.masks[at] |= uint64_t{1} << (last & 63);
  }
  lines.count = at + 1;
}

class LineMatcher {
 public:
  LineMatcher(const SparseSites& in, const SparseSites& out, const SparseWindow& w, const Offsets& offsets)
      : offsets_(offsets),
        order_(in.order()),
        dims_(size_t(in.dims())),
        packing_(nullptr, 0),
        memory_(Lines::bytes(in.rows() + out.rows())),
        ins_(memory_.data(), in.rows()),
        outs_(static_cast<char*>(memory_.data()) + Lines::bytes(in.rows()), out.rows()) {
    Range ranges[kMaxColumns];
    find_ranges(in, out, w, offsets, ranges);
    Range& last = ranges[dims_];
    // An empty line below all others and one above: a shift by part of a line names the neighbour of one that counts.
    const int64_t last_low = last.empty() ? 0 : last.low - 64;
    if (!last.empty()) last = {0, ((last.high - last_low) >> 6) + 1};
    packing_ = Packing(ranges, int(dims_) + 1);
    parallel_for(2, [&](int64_t outs, int) {
      if (outs)
        cut_lines(out, packing_, last_low, true, outs_);
      else
        cut_lines(in, packing_, last_low, false, ins_);
    });
    const size_t tiles = size_t((out.rows() + kTile - 1) / kTile);
    first_.reserve(tiles + 1);
    for (int64_t i = 0; i < outs_.count; ++i)
      if (outs_.first[i] % kTile == 0) first_.push_back(i);
    first_.push_back(outs_.count);
  }

  void match(int64_t tile, Pair* pairs, std::vector<int32_t>& counts) const {
    const size_t last = dims_ - 1;
    const int64_t inner = offsets_.kernel[last];
    std::fill(counts.begin(), counts.end(), 0);
    for (int64_t tap = 0; tap < offsets_.taps; tap += inner) {
      uint64_t delta = 0;
      for (size_t a = 0; a < last; ++a) delta += uint64_t(offsets_.of(a, tap)) << packing_.shift[a + 1];
      kernels().match_lines({ins_.list(), outs_.list(), order_.data(), first_[size_t(tile)], first_[size_t(tile) + 1],
                             tile * kTile, delta, offsets_.low[last], offsets_.step[last], inner,
                             reinterpret_cast<SparsePair*>(pairs + tap * kTile), kTile, &counts[size_t(tap)]});
    }
  }

 private:
  Offsets offsets_;
  const std::vector<int32_t>& order_;
  size_t dims_;
  Packing packing_;
  ScopedWorkspace memory_;
  Lines ins_, outs_;
  std::vector<int64_t> first_;  // line that opens each tile
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

  void match(int64_t tile, Pair* pairs, std::vector<int32_t>& counts) const {
    const size_t begin = size_t(tile * kTile), end = std::min(outs_.size(), begin + size_t(kTile));
    std::fill(counts.begin(), counts.end(), 0);
    for (int64_t tap = 0; tap < offsets_.taps; ++tap) {
      uint64_t delta = 0;
      for (size_t a = 0; a < dims_; ++a) delta += uint64_t(offsets_.of(a, tap)) << packing_.shift[a + 1];
      Pair* to = pairs + tap * kTile;
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
    const ScopedWorkspace scratch(size_t(taps * kTile) * sizeof(Pair));
    Pair* pairs = static_cast<Pair*>(scratch.data());
    std::vector<int32_t> counts(static_cast<size_t>(taps));
    for (int64_t i = run * kRun; i < std::min(int64_t(tiles.size()), (run + 1) * kRun); ++i) {
      matcher.match(i, pairs, counts);
      gather(tiles[size_t(i)], pairs, counts);
    }
  });
}

void check(const SparseSites& in, const SparseSites& out, const SparseWindow& w) {
  if (in.dims() != out.dims())
    throw Error(Code::invalid_argument,
                "the output has " + std::to_string(out.dims()) + " axes and the input " + std::to_string(in.dims()));
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
  const bool unit =
      std::all_of(window.stride.begin(), window.stride.begin() + in_->dims(), [](int64_t s) { return s == 1; });
  if (unit)
    sparse::match_tiles(sparse::LineMatcher(*in_, *out_, window, offsets), taps_, tiles_);
  else
    sparse::match_tiles(sparse::KeyMatcher(*in_, *out_, window, offsets), taps_, tiles_);
}

}  // namespace omniconv
