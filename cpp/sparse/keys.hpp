// sparse/keys.hpp -- coordinates as 64-bit integers of the same order
#pragma once

#include <bit>
#include <cstdint>
#include <string>

#include "omniconv/sparse.hpp"

namespace omniconv::sparse {

inline constexpr int kMaxColumns = 1 + kMaxSparseDims;

struct Range {
  int64_t low = INT64_MAX, high = INT64_MIN;  // both included
  void take(int64_t v) {
    low = v < low ? v : low;
    high = v > high ? v : high;
  }
  bool empty() const { return low > high; }
};

__extension__ typedef __int128 int128;

inline int bits_of(const Range* ranges, int columns) {
  int bits = 0;
  for (int c = 0; c < columns; ++c)
    if (!ranges[c].empty()) bits += int(std::bit_width(uint64_t(ranges[c].high - ranges[c].low)));
  return bits;
}

// A bit field per column, the batch highest. Exact: two sites within the ranges share no key, and adding a shifted
// offset moves along a column as long as the sum stays in the column's range.
template <class Key>
struct BasicPacking {
  // The sign's bit of signed keys and the top of their range are the maps' own.
  static constexpr int kBits = int(8 * sizeof(Key)) - (Key(-1) < 0 ? 2 : 0);
  int columns = 0, bits = 0;
  int64_t low[kMaxColumns] = {};
  int shift[kMaxColumns] = {};

  BasicPacking(const Range* ranges, int count) : columns(count) {
    for (int c = count - 1; c >= 0; --c) {
      shift[c] = bits < kBits ? bits : 0;
      if (ranges[c].empty()) continue;
      low[c] = ranges[c].low;
      bits += int(std::bit_width(uint64_t(ranges[c].high - ranges[c].low)));
    }
    if (bits > kBits)
      throw Error(Code::not_supported, "coords span " + std::to_string(bits) +
                                           " bits, with what the window adds; at most " + std::to_string(kBits) +
                                           " are supported");
  }

  Key key(const int32_t* site) const {
    Key k = 0;
    for (int c = 0; c < columns; ++c) k |= Key(site[c] - low[c]) << shift[c];
    return k;
  }
};

using Packing = BasicPacking<uint64_t>;

}  // namespace omniconv::sparse
