// dfp16/certificate.cpp -- norms, chain lengths, segments
#include "dfp16/certificate.hpp"

#include <algorithm>
#include <cmath>

#include "core/thread_pool.hpp"

namespace omniconv::dfp16 {
namespace {

// Blocks that a piece of `length` elements can touch.
int64_t blocks_of(int64_t length, bool aligned) {
  return aligned ? (length + kNormBlock - 1) / kNormBlock : (length + kNormBlock - 2) / kNormBlock + 1;
}

// prefix[i] = sum of squares of the first i blocks. 2^30 of 2^33 elements still fit.
void sum_squares(const int16_t* values, int64_t elements, const Kernels& k, int threads, int64_t* prefix) {
  constexpr int64_t kPart = 4096;  // blocks
  const int64_t blocks = elements / kNormBlock;
  parallel_for((blocks + kPart - 1) / kPart, threads, [&](int64_t task, int) {
    const int64_t first = task * kPart, count = std::min(kPart, blocks - first);
    k.squares(values + first * kNormBlock, count, prefix + 1 + first);
  });
  prefix[0] = 0;
  for (int64_t i = 1; i <= blocks; ++i) prefix[i] += prefix[i - 1];
}

int64_t largest_window(const int64_t* prefix, int64_t blocks, int64_t window, const Kernels& k) {
  return window >= blocks ? prefix[blocks] : k.window_max(prefix, blocks + 1, window);
}

// Chains of kLengths[i]: elements of one piece, and pieces of one chain.
struct Cut {
  int64_t piece, pieces;
};
Cut cut_of(const Shape& s, int64_t length) {
  if (s.run > length) return {length, 1};
  return {s.run, std::min<int64_t>(length / s.run, int64_t(s.offsets.size()))};
}

// Rounded up: the square root and the products are off by less than 2^-50.
double bound_of(double rows, double columns) { return std::sqrt(rows) * std::sqrt(columns) * (1 + 0x1p-48); }

}  // namespace

Norms column_norms(const Shape& s, const int16_t* dense, const Kernels& k, int threads, int64_t* prefix) {
  const int64_t elements = s.groups * s.columns * s.column_row(), blocks = elements / kNormBlock;
  sum_squares(dense, elements, k, threads, prefix);
  const bool aligned = s.run % kNormBlock == 0;
  Norms norms;
  int64_t known_window = -1, known = 0;
  for (int i = 0; i < kLengthCount; ++i) {
    const Cut c = cut_of(s, kLengths[i]);
    const int64_t window = std::min(blocks_of(c.piece * c.pieces, aligned), s.column_row() / kNormBlock);
    if (window != known_window) known = largest_window(prefix, blocks, window, k);
    known_window = window;
    norms.squared[i] = known;
  }
  return norms;
}

Chain choose_chain(const Shape& s, const Options& o, const int16_t* source, const Norms& columns, const Kernels& k,
                   int threads, int64_t* prefix) {
  const double a = o.a_bits == 16 ? 32768 : std::ldexp(1, o.a_bits) - 1;
  const double b = o.b_bits == 16 ? 32768 : std::ldexp(1, o.b_bits) - 1;
  const int64_t all = s.terms();
  if (o.overflow == Overflow::unchecked) return {all, false, double(all) * a * b};
  const bool exact = o.accumulate == Accumulate::exact;
  const int64_t safe = int64_t(kMostSum / (a * b)) / 2 * 2;
  const auto split = [&]() -> Chain {
    const int64_t length = std::min(all, int64_t(kMostSum / (a * 128)) / kNormBlock * kNormBlock);
    return {length, true, double(length) * a * 128};
  };
  if (safe >= all) return {all, false, double(all) * a * b};
  if (o.overflow == Overflow::worst_case) {
    if (exact && safe < kShortestExact) return split();
    return {std::max<int64_t>(safe, 2), false, double(std::max<int64_t>(safe, 2)) * a * b};
  }
  const int64_t blocks = s.source_elements() / kNormBlock;
  sum_squares(source, s.source_elements(), k, threads, prefix);
  auto bound = [&](int i) {
    const Cut c = cut_of(s, kLengths[i]);
    const double largest = double(largest_window(prefix, blocks, blocks_of(c.piece, s.aligned), k));
    const double piece = double(c.piece);
    return bound_of(double(c.pieces) * std::min(largest, piece * a * a),
                    std::min(double(columns.squared[i]), double(c.pieces) * piece * b * b));
  };
  static_assert(kLengths[2] == kShortestExact);
  int low = exact ? 2 : 0, high = kLengthCount;  // low is allowed, high is not
  double found = bound(low);
  if (found > kMostSum) {
    if (exact) return split();
    return {2, false, 2 * a * b};
  }
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    const double here = bound(middle);
    if (here <= kMostSum)
      low = middle, found = here;
    else
      high = middle;
  }
  return {std::min(kLengths[low], all), false, found};
}

int64_t most_segments(const Shape& s, int64_t shortest) {
  return int64_t(s.offsets.size()) * ((s.run + shortest - 1) / shortest);
}

int64_t cut(const Shape& s, int64_t chain, Segment* segments) {
  const Cut c = cut_of(s, chain);
  int64_t count = 0;
  for (size_t r = 0; r < s.offsets.size(); ++r) {
    for (int64_t at = 0; at < s.run; at += c.piece) {
      const int64_t length = std::min(c.piece, s.run - at);
      const bool last = c.pieces == 1 || int64_t(r + 1) % c.pieces == 0;
      segments[count++] = {s.offsets[r] + at, int32_t(length / 2), last ? 1 : 0};
    }
  }
  segments[count - 1].last = 1;
  return count;
}

}  // namespace omniconv::dfp16
