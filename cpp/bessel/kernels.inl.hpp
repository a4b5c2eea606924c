// bessel/kernels.inl.hpp -- values sorted by their formulas; included once by each bessel_<isa>.cpp
//
// Every region runs on full vectors of its own values: the one with most of a block on the block as it stands (what it
// makes of the others is overwritten later), the rest on copies, collected until a batch is full. A value therefore
// goes through the same instructions wherever it stands and whatever its neighbours are.
#pragma once

#include "bessel/regions.inl.hpp"

namespace omniconv::bessel {
namespace OMNICONV_ISA_NS {

constexpr int kBatch = 128;  // of values of one region; 2 KiB of each array
constexpr int kBlock = 256;  // neighbours that are looked at together

template <class T>
struct Batch {
  int n;
  int at[kBatch];  // where the results go
  alignas(64) T v[kBatch], x[kBatch];
};

template <BesselFunction F, class V>
class Sorter {
  using T = Scalar<V>;
  static constexpr int kWide = Real<V>::width;

 public:
  explicit Sorter(const BatchArgs<T>& args) : args_(args) {
    for (auto& batch : batches_) batch.n = 0;
  }

  void run_all() {
    int start = 0;
    for (; start + kWide <= args_.n; start += kBlock) block(start, least(kBlock, (args_.n - start) / kWide * kWide));
    start = args_.n / kWide * kWide;
    if (start < args_.n) {
      alignas(64) T v[kWide] = {}, x[kWide] = {};
      for (int i = 0; start + i < args_.n; ++i) v[i] = args_.v[start + i], x[i] = args_.x[start + i];
      const Bits<V> regions = region(load_real<V>(v), load_real<V>(x));
      for (int i = 0; start + i < args_.n; ++i) push(int(regions[i]), start + i, v[i], x[i]);
    }
    for (int region = kRegions - 1; region >= 0; --region) flush(region);  // the special ones may push into others
  }

 private:
  static int least(int a, int b) { return a < b ? a : b; }

  static OMNICONV_INLINE Bits<V> region(V v, V x) {
    if constexpr (is_k(F) && is_log(F)) v = magnitude(v);
    return region_of<F>(v, x);
  }

  void block(int start, int n) {
    if (main_ >= 0 && main_ < kTiers && block_like_the_last(start, n)) return;
    alignas(64) Word<V> regions[kBlock];
    const T *v = args_.v + start, *x = args_.x + start;
    for (int i = 0; i < n; i += kWide)
      *reinterpret_cast<Bits<V>*>(regions + i) = region(load_real<V>(v + i), load_real<V>(x + i));
    main_ = most_frequent(regions, n);
    if (main_ >= 0) run_main(start, n);
    for (int i = 0; i < n; i += kWide) push_others(start + i, regions + i);
  }

  // The same with half the comparisons, if the region that held most of the last block does so again.
  bool block_like_the_last(int start, int n) {
    uint8_t mixed[kBlock / kWide];
    int count = 0;
    const T *v = args_.v + start, *x = args_.x + start;
    for (int i = 0; i < n; i += kWide) {
      mixed[count] = uint8_t(i / kWide);
      count += any(~in_tier(main_, load_real<V>(v + i), load_real<V>(x + i)));
    }
    if (2 * count * kWide > n) return false;
    run_main(start, n);
    for (int k = 0; k < count; ++k) {
      const int i = mixed[k] * kWide;
      alignas(64) Word<V> regions[kWide];
      *reinterpret_cast<Bits<V>*>(regions) = region(load_real<V>(v + i), load_real<V>(x + i));
      push_others(start + i, regions);
    }
    return true;
  }

  // What region_of() makes of it, for this one region.
  static OMNICONV_INLINE Bits<V> in_tier(int tier, V v, V x) {
    if constexpr (is_k(F) && is_log(F)) v = magnitude(v);
    const double from = Tiers<V>::tiers[tier].from, to = tier > 0 ? Tiers<V>::tiers[tier - 1].from : Limits<V>::large;
    const V s2 = fma(v, v, x * x);
    Bits<V> in = (s2 >= set<V>(from * from)) & (s2 < set<V>(to * to)) & (x > set<V>(Limits<V>::small));
    if constexpr (!(is_k(F) && is_log(F))) in &= v >= V{};
    if constexpr (has_zero_line(F)) in &= ~near_zero_line(v, x);
    return in;
  }

  void run_main(int start, int n) {
    run<F, V>(main_, n, args_.v + start, args_.x + start, args_.out[0] + start, args_.out[1] + start, trapezoids());
  }

  // Those of a vector of values at `start` that are not of the main region.
  void push_others(int start, const Word<V>* regions) {
    if (!any(*reinterpret_cast<const Bits<V>*>(regions) != Word<V>(main_))) return;
    for (int i = 0; i < kWide; ++i)
      push(int(regions[i]), start + i, args_.v[start + i], args_.x[start + i], int(regions[i]) != main_);
  }

  // Of the regions of the first, the middle and the last value that which holds most; -1 if it would not pay to run it
  // on the whole block.
  static int most_frequent(const Word<V>* regions, int n) {
    int best = -1, most = n / 3;
    const int candidates[] = {0, n / 2, n - 1};
    for (int at : candidates) {
      const int candidate = int(regions[at]);
      if (candidate == best || candidate > kExtremeRegion) continue;
      Bits<V> count{};
      for (int i = 0; i < n; i += kWide) count -= *reinterpret_cast<const Bits<V>*>(regions + i) == Word<V>(candidate);
      int sum = 0;
      for (int i = 0; i < kWide; ++i) sum += int(count[i]);
      if (sum > most) best = candidate, most = sum;
      if (2 * most > n) break;
    }
    return best;
  }

  // Into a batch; or, if it need not be `kept`, into the place behind its last: a branch on that would be unforeseen.
  void push(int region, int at, T v, T x, bool kept = true) {
    Batch<T>& batch = batches_[region];
    batch.at[batch.n] = at;
    batch.v[batch.n] = v;
    batch.x[batch.n] = x;
    batch.n += kept;
    if (batch.n == kBatch) flush(region);
  }

  __attribute__((noinline)) void flush(int region) {
    Batch<T>& batch = batches_[region];
    if (batch.n == 0) return;
    if (region == kSpecial)
      run_special(batch);
    else if (region < kSmall)
      run_batch<V>(region, batch);
    else
      run_batch<f64>(region, batch);  // float32 as well: it is rare, and its 24 bits would not do
    batch.n = 0;
  }

  template <class W>
  void run_batch(int region, Batch<T>& batch) {
    using S = Scalar<W>;
    alignas(64) S v[kBatch], x[kBatch], out[2][kBatch];
    const int last = batch.n - 1;
    for (int i = 0; i < kBatch; ++i) {
      const int from = i < last ? i : last;
      v[i] = S(batch.v[from]);
      x[i] = S(batch.x[from]);
    }
    run<F, W>(region, batch.n, v, x, out[0], out[1], trapezoids());
    for (int i = 0; i < batch.n; ++i) {
      args_.out[0][batch.at[i]] = T(out[0][i]);
      if constexpr (is_grad(F)) args_.out[1][batch.at[i]] = T(out[1][i]);
    }
  }

  void run_special(const Batch<T>& batch) {
    for (int i = 0; i < batch.n; ++i) {
      const T v = batch.v[i], x = batch.x[i];
      // I of negative whole order is that of -v.
      if constexpr (F == BesselFunction::log_iv || F == BesselFunction::log_ive) {
        if (v < 0 && __builtin_trunc(v) == v) {
          const int positive = int(region(set<V>(-v), set<V>(x))[0]);
          if (positive == kSpecial)
            args_.out[0][batch.at[i]] = special<F>(-v, x).first;
          else
            push(positive, batch.at[i], -v, x);
          continue;
        }
      }
      const Result<T> r = special<F>(v, x);
      args_.out[0][batch.at[i]] = r.first;
      if constexpr (is_grad(F)) args_.out[1][batch.at[i]] = r.second;
    }
  }

  const BatchArgs<T>& args_;
  int main_ = -1;
  Batch<T> batches_[kRegions];
};

template <class V>
static void run_batch(const BatchArgs<Scalar<V>>& a) {
  using B = BesselFunction;
  switch (a.function) {
    case B::log_iv: return Sorter<B::log_iv, V>(a).run_all();
    case B::log_kv: return Sorter<B::log_kv, V>(a).run_all();
    case B::log_ive: return Sorter<B::log_ive, V>(a).run_all();
    case B::log_kve: return Sorter<B::log_kve, V>(a).run_all();
    case B::iv_ratio: return Sorter<B::iv_ratio, V>(a).run_all();
    case B::iv_ratioc: return Sorter<B::iv_ratioc, V>(a).run_all();
    case B::kv_ratio: return Sorter<B::kv_ratio, V>(a).run_all();
    case B::iv_ratio_dx: return Sorter<B::iv_ratio_dx, V>(a).run_all();
    case B::log_iv_grad: return Sorter<B::log_iv_grad, V>(a).run_all();
    case B::log_kv_grad: return Sorter<B::log_kv_grad, V>(a).run_all();
  }
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::bessel
