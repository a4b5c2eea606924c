// sparse/sites.cpp -- coordinate lists in lexicographic order, and the sites that a window reaches
#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "sparse/keys.hpp"

namespace omniconv {
namespace sparse {
namespace {

struct Entry {
  uint64_t key;
  int32_t row;
};

// Least significant digit first: stable, and as many passes as the keys have digits. Digits of 11 bits: their 2048
// counters and write fronts stay in L1 and L2.
void radix_sort(std::vector<Entry>& entries, int bits) {
  constexpr int kDigit = 11;
  std::vector<Entry> other(entries.size());
  std::vector<size_t> place(size_t{1} << kDigit);
  for (int shift = 0; shift < bits; shift += kDigit) {
    const auto digit = [shift](uint64_t key) { return size_t(key >> shift) & ((size_t{1} << kDigit) - 1); };
    std::fill(place.begin(), place.end(), 0);
    for (const Entry& e : entries) ++place[digit(e.key)];
    size_t sum = 0;
    for (size_t& p : place) sum += std::exchange(p, sum);
    for (const Entry& e : entries) other[place[digit(e.key)]++] = e;
    entries.swap(other);
  }
}

}  // namespace
}  // namespace sparse

SparseSites::SparseSites(const int32_t* coords, int64_t rows, int dims) : dims_(dims) {
  using namespace sparse;
  if (dims < 1 || dims > kMaxSparseDims)
    throw Error(Code::invalid_argument,
                "coords have " + std::to_string(dims) + " axes beside the batch; allowed are 1 to 4");
  if (rows < 0 || rows > std::numeric_limits<int32_t>::max())
    throw Error(Code::not_supported, "coords have " + std::to_string(rows) + " rows; at most 2^31 - 1 are supported");
  const int columns = 1 + dims;
  coords_.assign(coords, coords + rows * columns);
  Range ranges[kMaxColumns];
  for (int64_t i = 0; i < rows; ++i)
    for (int c = 0; c < columns; ++c) ranges[c].take(coords_[size_t(i * columns + c)]);
  if (rows > 0 && ranges[0].low < 0)
    throw Error(Code::invalid_argument,
                "coords name the batch " + std::to_string(ranges[0].low) + "; a batch is 0 or more");
  for (size_t c = 0; rows > 0 && c < size_t(columns); ++c)
    lowest_[c] = int32_t(ranges[c].low), highest_[c] = int32_t(ranges[c].high);
  const Packing packing(ranges, columns);

  std::vector<Entry> entries(static_cast<size_t>(rows));
  bool sorted = true;
  for (int64_t i = 0; i < rows; ++i) {
    entries[size_t(i)] = {packing.key(&coords_[size_t(i * columns)]), int32_t(i)};
    sorted = sorted && (i == 0 || entries[size_t(i - 1)].key <= entries[size_t(i)].key);
  }
  if (!sorted) radix_sort(entries, packing.bits);
  order_.resize(size_t(rows));
  for (size_t i = 0; i < size_t(rows); ++i) {
    order_[i] = entries[i].row;
    if (i == 0 || entries[i].key != entries[i - 1].key) starts_.push_back(int64_t(i));
  }
  starts_.push_back(rows);
}

namespace sparse {
namespace {

int32_t place(int64_t o, int axis) {
  if (o < std::numeric_limits<int32_t>::min() || o > std::numeric_limits<int32_t>::max())
    throw Error(Code::not_supported, "an output site is at " + std::to_string(o) + " of axis " + std::to_string(axis) +
                                         ", which no int32 holds");
  return int32_t(o);
}

// The places of one axis that the window reaches from place i, in ascending order, to `emit`.
template <class Emit>
void reach(int64_t i, int axis, const SparseWindow& w, bool transposed, const SparseBounds* bounds, Emit&& emit) {
  const size_t a = size_t(axis);
  for (int64_t step = 0; step < w.kernel[a]; ++step) {
    const int64_t t = transposed ? step : w.kernel[a] - 1 - step;
    int64_t o;
    if (transposed) {
      o = w.stride[a] * i + w.dilation[a] * t - w.padding[a];
    } else {
      o = i + w.padding[a] - w.dilation[a] * t;
      if (o % w.stride[a] != 0) continue;
      o /= w.stride[a];
    }
    if (bounds && (o < bounds->low[a] || o >= bounds->high[a])) continue;
    emit(place(o, axis));
  }
}

}  // namespace
}  // namespace sparse

namespace sparse {
namespace {

// Of windows that touch and do not overlap: the one output of each input.
std::vector<int32_t> touched(const SparseSites& in, const SparseWindow& w, const SparseBounds* bounds) {
  const size_t columns = size_t(1 + in.dims());
  std::vector<int32_t> out;
  out.reserve(in.coords().size());
  for (size_t at = 0; at < in.coords().size(); at += columns) {
    int32_t site[kMaxColumns] = {in.coords()[at]};
    bool inside = true;
    for (size_t a = 0; a + 1 < columns; ++a) {
      const int64_t i = in.coords()[at + 1 + a] + w.padding[a], o = i / w.stride[a] - (i % w.stride[a] < 0);
      inside = inside && (!bounds || (o >= bounds->low[a] && o < bounds->high[a]));
      if (inside) site[a + 1] = place(o, int(a));
    }
    if (inside) out.insert(out.end(), site, site + columns);
  }
  return out;
}

// Coordinates of the distinct sites among these, in order.
std::vector<int32_t> distinct(const std::vector<int32_t>& coords, int dims) {
  const size_t columns = size_t(1 + dims);
  const SparseSites sites(coords.data(), int64_t(coords.size() / columns), dims);
  std::vector<int32_t> found;
  found.reserve(size_t(sites.distinct()) * columns);
  for (int64_t i = 0; i < sites.distinct(); ++i) {
    const auto row = coords.begin() + ptrdiff_t(size_t(sites.order()[size_t(sites.starts()[size_t(i)])]) * columns);
    found.insert(found.end(), row, row + ptrdiff_t(columns));
  }
  return found;
}

}  // namespace
}  // namespace sparse

// A window is a product of its axes, so the sites are found one axis at a time, which keeps the lists short.
SharedSites reached_sites(const SparseSites& in, const SparseWindow& window, bool transposed,
                          const SparseBounds* bounds) {
  const size_t columns = size_t(1 + in.dims());
  bool one = !transposed;
  for (size_t a = 0; a < size_t(in.dims()); ++a)
    one = one && window.kernel[a] == window.stride[a] && (window.dilation[a] == 1 || window.kernel[a] == 1);
  std::vector<int32_t> now = one ? sparse::distinct(sparse::touched(in, window, bounds), in.dims()) : in.coords(), next;
  for (int axis = 0; !one && axis < in.dims(); ++axis) {
    next.clear();
    for (size_t at = 0; at < now.size(); at += columns)
      sparse::reach(now[at + 1 + size_t(axis)], axis, window, transposed, bounds, [&](int32_t o) {
        next.insert(next.end(), now.begin() + ptrdiff_t(at), now.begin() + ptrdiff_t(at + columns));
        next[next.size() - columns + 1 + size_t(axis)] = o;
      });
    now = sparse::distinct(next, in.dims());
  }
  return std::make_shared<const SparseSites>(now.data(), int64_t(now.size() / columns), in.dims());
}

}  // namespace omniconv
