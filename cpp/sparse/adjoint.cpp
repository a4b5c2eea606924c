// sparse/adjoint.cpp -- a map with input and output exchanged, and its counts
#include "core/thread_pool.hpp"
#include "omniconv/sparse.hpp"

namespace omniconv {

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
    each(size_t(t),
         [&](Tile& tile, Pair pair) { tile.pairs[size_t(next[size_t(&tile - map.tiles_.data())]++)] = pair; });
  });
  return map;
}

}  // namespace omniconv
