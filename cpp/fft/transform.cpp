// fft/transform.cpp -- lengths, stages and roots
#include "fft/transform.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "omniconv/status.hpp"

namespace omniconv::fft {
namespace {

// A transform past this does not stay in an L2 cache of 512 KiB beside its spectrum. (Doing its first stages together
// with the first pass, on groups of columns, would save sweeps over L3; measured, it lost to plain sweeps by 1.3 to 2
// times at n = 2^16 to 2^20: 128 streams at powers of two fall into a handful of cache sets.)
constexpr int64_t kNearBytes = int64_t{256} << 10;

int power_of(int64_t n, int base) {
  int e = 0;
  for (; n % base == 0; n /= base) ++e;
  return e;
}

// In place: lengths are compared in every run of a convolution by transforms, which may not allocate.
struct Radices {
  int count = 0, each[kMaxStages];
  explicit Radices(int64_t vectors) {
    for (int odd : {5, 3})
      for (int e = power_of(vectors, odd); e > 0; --e) each[count++] = odd;
    const int twos = power_of(vectors, 2);
    for (int e = twos / 2; e > 0; --e) each[count++] = 4;
    if (twos % 2) each[count++] = 2;
  }
  const int* begin() const { return each; }
  const int* end() const { return each + count; }
};

// exp(-2 pi i numerator / denominator), both exact, 0 <= numerator < denominator: reduced to an eighth of a turn, so
// that float64 roots are right to the last bit or so.
template <class T>
void root(int64_t numerator, int64_t denominator, T* re, T* im) {
  const int64_t eighth = numerator * 8 / denominator;
  const int64_t rest = numerator * 8 - eighth * denominator;  // in eighths of denominator
  const bool fold = eighth % 2;
  const double angle = std::numbers::pi / 4 * (double(fold ? denominator - rest : rest) / double(denominator));
  double c = std::cos(angle), s = std::sin(angle);
  if (((eighth + 1) / 2) % 2) std::swap(c, s);
  const int64_t quarter = eighth / 2;
  if (quarter == 1 || quarter == 2) c = -c;
  if (quarter >= 2) s = -s;
  *re = T(c);
  *im = T(-s);
}

// c = exp(-2 pi i numerator / denominator) of a block.
struct Angle {
  int64_t numerator, denominator;

  Angle over(int64_t r) const { return {numerator, denominator * r}; }
  // The p-th root: over(r) plus p / r turns.
  Angle child(int64_t r, int64_t p) const { return {numerator + p * denominator, denominator * r}; }
};

template <class T>
void put(Angle a, int64_t times, T* re, T* im) {
  root<T>(a.numerator * times % a.denominator, a.denominator, re, im);
}

}  // namespace

double transform_cost(int64_t points, int lanes, int item_size) {
  const int64_t m = points / lanes;
  // Levels of the passes; 3 and 5 take more operations than their share of levels, loads and stores less.
  double levels = std::log2(double(lanes)) + 3;
  for (int r : Radices(m)) levels += r == 2 ? 1.5 : r == 4 ? 2 : r == 3 ? 2 : 3;
  const double far = points * 2 * item_size > kNearBytes ? 1.25 : 1;
  return double(points) * levels * far;
}

int64_t cheapest_points(int64_t least, int lanes) {
  const int64_t unit = int64_t{lanes} * lanes;
  int64_t best = 0;
  double cost = std::numeric_limits<double>::infinity();
  for (int64_t odd : {1, 3, 5, 9, 15, 25, 27, 45, 75}) {
    int64_t n = odd * unit;
    if (odd == 1) n *= 2;  // at least one stage
    while (n < least) n *= 2;
    const double c = transform_cost(n, lanes, 4);
    if (c < cost) {
      cost = c;
      best = n;
    }
  }
  return best;
}

template <class T>
Tables<T>::Tables(int64_t points, int lanes) {
  Transform<T>& t = transform_;
  t.points = points;
  t.vectors = points / lanes;
  const Radices all(t.vectors);
  t.stages = all.count;
  size_t count = size_t(2 * lanes);
  int64_t blocks = 1;
  for (int s = 0; s < t.stages; ++s) {
    count += size_t(blocks) * (all.each[s] - 1) * 2 * lanes;
    blocks *= all.each[s];
  }
  buffer_ = AlignedBuffer(count * sizeof(T));
  T* at = static_cast<T*>(buffer_.data());

  // t^n = -i = exp(-2 pi i / 4). Node i of the first pass has the square root of its c; its children are the two roots.
  std::vector<Angle> node(2 * lanes);
  node[1] = {1, 4};
  t.top = at;
  at[0] = at[1] = T(0);
  for (int i = 1; i < lanes; ++i) {
    put<T>(node[i].over(2), 1, at + 2 * i, at + 2 * i + 1);
    node[2 * i] = node[i].child(2, 0);
    node[2 * i + 1] = node[i].child(2, 1);
  }
  at += 2 * lanes;

  std::vector<Angle> block(node.begin() + lanes, node.end());  // [block][lane]
  int64_t length = t.vectors;
  blocks = 1;
  for (int s = 0; s < t.stages; ++s) {
    const int r = all.each[s];
    t.stage[s] = {r, length, at};
    // Which roots the children are, in the order in which the butterflies leave them.
    static constexpr int kFour[4] = {0, 2, 1, 3};
    std::vector<Angle> next(s + 1 < t.stages ? block.size() * r : 0);
    for (int64_t b = 0; b < blocks; ++b, at += (r - 1) * 2 * lanes)
      for (int l = 0; l < lanes; ++l) {
        const Angle c = block[b * lanes + l];
        for (int i = 0; i < r - 1; ++i) {
          // Radix 4 takes s2^2, s2, s2^3; the others the powers 1, 2, ...
          const int power = r == 4 ? (i == 0 ? 2 : i == 1 ? 1 : 3) : i + 1;
          put<T>(c.over(r), power, at + i * 2 * lanes + l, at + i * 2 * lanes + lanes + l);
        }
        if (!next.empty())
          for (int i = 0; i < r; ++i) next[(b * r + i) * lanes + l] = c.child(r, r == 4 ? kFour[i] : i);
      }
    block = std::move(next);
    blocks *= r;
    length /= r;
  }
}

template <class T>
std::shared_ptr<const Tables<T>> kept_tables(int64_t points, int lanes) {
  struct Node {
    int64_t points;
    int lanes;
    Tables<T> tables;
    const Node* next;
  };
  static std::atomic<const Node*> first{nullptr};
  const auto find = [&](const Node* node) {
    while (node && (node->points != points || node->lanes != lanes)) node = node->next;
    return node;
  };
  const Node* found = find(first.load(std::memory_order_acquire));
  if (!found) {
    auto* node = new Node{points, lanes, Tables<T>(points, lanes), first.load(std::memory_order_relaxed)};
    while (!first.compare_exchange_weak(node->next, node, std::memory_order_release, std::memory_order_relaxed)) {
    }
    found = node;
  }
  return {std::shared_ptr<void>(), &found->tables};  // owns nothing
}

template class Tables<float>;
template class Tables<double>;
template std::shared_ptr<const Tables<float>> kept_tables(int64_t, int);

}  // namespace omniconv::fft
