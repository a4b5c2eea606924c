// sparse/map.cpp -- which rows meet under which tap
//
// Keys of the sites in order are two sorted lists, and a tap adds a constant to those of the outputs: its pairs are
// what the lists then share. Taps that follow each other along the last axis ask for keys that follow each other, so a
// kernel of 3x3x3 is 9 walks along the inputs, side by side for each output. Where keys need more than 62 bits, tap by
// tap with 128.
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
  if (in.rows() == 0 || out.rows() == 0) return;
  for (size_t c = 0; c < size_t(1 + in.dims()); ++c) {
    ranges[c] = {in.lowest()[c], in.highest()[c]};
    const int64_t stride = c > 0 ? w.stride[c - 1] : 1, low = c > 0 ? offsets.low[c - 1] : 0,
                  high = c > 0 ? offsets.high(c - 1) : 0;
    // All four sums: where a tap is wider than the list, its shift alone has to fit.
    for (const int64_t site : {out.lowest()[c], out.highest()[c]})
      ranges[c].take(stride * site + low), ranges[c].take(stride * site + high);
  }
}

// Keys of the sites of a list in order, as a sum of the columns times factors.
template <class Key>
void list_keys(const SparseSites& sites, const Key* factors, Key bias, Key* keys) {
  constexpr int64_t kBlock = 8192;
  const int64_t columns = 1 + sites.dims();
  parallel_for((sites.rows() + kBlock - 1) / kBlock, [&](int64_t block, int) {
    for (int64_t i = block * kBlock; i < std::min(sites.rows(), (block + 1) * kBlock); ++i) {
      const int32_t* site = &sites.coords()[size_t(sites.order()[size_t(i)] * columns)];
      Key key = bias;
      for (int64_t c = 0; c < columns; ++c) key += Key(site[c]) * factors[c];
      keys[i] = key;
    }
  });
}

// What the walks need. A run of tiles is matched from front to back: `at` holds, per row, how far its walk has come,
// and `to` where the next pair of each tap goes, the input being its place in the list.
template <class Key>
class Matcher {
 public:
  Matcher(const SparseSites& in, const SparseSites& out, const SparseWindow& w, const Offsets& offsets,
          const BasicPacking<Key>& packing)
      : ins_(in.rows()),
        outs_(out.rows()),
        // Memory that the thread keeps between maps: fetched page by page from the system it takes longer than filling.
        memory_(size_t(ins_ + outs_ + 2 * kMatchAhead) * sizeof(Key)),
        in_(static_cast<Key*>(memory_.data())),
        out_(in_ + ins_ + kMatchAhead) {
    const size_t last = size_t(offsets.dims) - 1;
    Key factors[kMaxColumns], bias = 0;
    for (size_t c = 0; c <= last + 1; ++c) {
      factors[c] = Key{1} << packing.shift[c];
      bias -= Key(packing.low[c]) * factors[c];
    }
    list_keys(in, factors, bias, in_);
    std::fill_n(in_ + ins_, kMatchAhead, Key{1} << BasicPacking<Key>::kBits);  // above all
    bool scaled = &in != &out;
    for (size_t a = 0; a <= last; ++a) scaled = scaled || w.stride[a] != 1, factors[a + 1] *= Key(w.stride[a]);
    if (scaled) {
      list_keys(out, factors, bias, out_);
      std::fill_n(out_ + outs_, kMatchAhead, Key{0});
    } else {
      out_ = in_;
    }
    const int64_t together = offsets.step[last] == 1 ? offsets.kernel[last] : 1;
    for (int64_t tap = 0; tap < offsets.taps; tap += together) {
      Key delta = 0;
      for (size_t a = 0; a <= last; ++a) delta += Key(offsets.of(a, tap)) << packing.shift[a + 1];
      rows_.push_back({delta, tap, together});
    }
  }

  size_t rows() const { return rows_.size(); }

  void begin(int64_t first, int64_t* at) const {
    for (const TapRow<Key>& row : rows_) *at++ = std::lower_bound(in_, in_ + ins_, out_[first] + row.delta) - in_;
  }

  void match(int64_t first, int64_t last, int64_t* at, SparsePair** to) const {
    const MatchArgs<Key> args{in_, out_ + first, last - first, rows_.data(), int64_t(rows_.size()), at, to};
    if constexpr (sizeof(Key) == sizeof(uint64_t))
      kernels().match(args);
    else
      match_wide(args);
  }

 private:
  static void match_wide(const MatchArgs<Key>& a) {
    for (int64_t o = 0; o < a.count; ++o)
      for (int64_t r = 0; r < a.row_count; ++r) {
        const TapRow<Key>& row = a.rows[r];
        Key wanted = a.out[o] + row.delta;
        while (a.in[a.at[r]] < wanted) ++a.at[r];
        int64_t at = a.at[r];
        for (int64_t t = 0; t < row.taps; ++t, ++wanted)
          if (a.in[at] == wanted) *a.to[row.tap + t]++ = {int32_t(at++), int32_t(o)};
      }
  }

  int64_t ins_, outs_;
  ScopedWorkspace memory_;
  Key *in_, *out_;
  std::vector<TapRow<Key>> rows_;
};

// Pairs of a tile as the scratch has them, kStep a tap, with rows for places.
constexpr int64_t kStep = kTile + kMatchAhead;

void gather(Tile& tile, const SparsePair* pairs, SparsePair* const* ends, int64_t taps,
            const std::vector<int32_t>& order) {
  tile.begin.resize(size_t(taps) + 1);
  for (int64_t t = 0; t < taps; ++t)
    tile.begin[size_t(t) + 1] = tile.begin[size_t(t)] + int32_t(ends[t] - (pairs + t * kStep));
  tile.pairs.resize(size_t(tile.begin.back()));
  Pair* to = tile.pairs.data();
  for (int64_t t = 0; t < taps; ++t)
    for (const SparsePair* p = pairs + t * kStep; p < ends[t]; ++p) *to++ = {order[size_t(p->in)], p->out};
}

template <class Key>
void match_tiles(const Matcher<Key>& matcher, const SparseMap& map, std::vector<Tile>& tiles) {
  // A thread takes runs of tiles, so that walks begin once for many.
  constexpr int64_t kRun = 8;
  const int64_t count = int64_t(tiles.size()), taps = map.taps();
  parallel_for((count + kRun - 1) / kRun, [&](int64_t run, int) {
    const ScopedWorkspace scratch(size_t(taps * kStep) * sizeof(SparsePair));
    SparsePair* pairs = static_cast<SparsePair*>(scratch.data());
    std::vector<SparsePair*> ends(static_cast<size_t>(taps));
    std::vector<int64_t> at(matcher.rows());
    matcher.begin(run * kRun * kTile, at.data());
    for (int64_t i = run * kRun; i < std::min(count, (run + 1) * kRun); ++i) {
      for (int64_t t = 0; t < taps; ++t) ends[size_t(t)] = pairs + t * kStep;
      matcher.match(i * kTile, std::min(map.out()->rows(), (i + 1) * kTile), at.data(), ends.data());
      gather(tiles[size_t(i)], pairs, ends.data(), taps, map.in()->order());
    }
  });
}

template <class Key>
void match_by(const Range* ranges, const SparseMap& map, const SparseWindow& w, const Offsets& offsets,
              std::vector<Tile>& tiles) {
  const BasicPacking<Key> packing(ranges, 1 + offsets.dims);
  match_tiles(Matcher<Key>(*map.in(), *map.out(), w, offsets, packing), map, tiles);
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
  sparse::Range ranges[sparse::kMaxColumns];
  sparse::find_ranges(*in_, *out_, window, offsets, ranges);
  if (sparse::bits_of(ranges, 1 + offsets.dims) <= sparse::BasicPacking<int64_t>::kBits)
    sparse::match_by<int64_t>(ranges, *this, window, offsets, tiles_);
  else
    sparse::match_by<sparse::int128>(ranges, *this, window, offsets, tiles_);
}

}  // namespace omniconv
