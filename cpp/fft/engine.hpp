// fft/engine.hpp -- rows through transforms: one direction of a plan
#pragma once

#include <memory>

#include "fft/problem.hpp"
#include "fft/rate.hpp"
#include "fft/team.hpp"
#include "fft/transform.hpp"

namespace omniconv::fft {

// Element (b, c, h, t) of an array; axes that an operand lacks have stride 0. Null data: there is none.
template <class T>
struct View {
  T* data = nullptr;
  int64_t b = 0, c = 0, h = 0, t = 0;

  T* row(int64_t ib, int64_t ic, int64_t ih) const { return data ? data + ib * b + ic * c + ih * h : nullptr; }
  bool strided() const { return data && t != 1; }
};

template <class T>
struct Rows {
  int64_t batch = 1, kernels = 1, channels = 1;  // B, C, H
  View<const T> u, pre, post, post2, skip, bias;
  View<T> y, y2;
  View<const T> spectrum;  // row (b, c, h); t is 1
  Activation activation = Activation::none;
  double negative_slope = 0.01;

  bool strided() const {
    return u.strided() || pre.strided() || post.strided() || post2.strided() || y.strided() || y2.strided();
  }
};

// Several threads work on one row only from here on: less is done by the time that all have been woken.
constexpr size_t kTogetherBytes = size_t{256} << 10;
// Rows up to this size are fetched one pass before they are used; see Touch.
constexpr int64_t kShortBytes = int64_t{64} << 10;

// Thread-safe and immutable. T is float or double.
template <class T>
class Engine {
 public:
  // Null geometry.points: no transform at all (the reference).
  // With a rate, map and geometry are those of the lower one.
  Engine(const Map& map, const Geometry& geometry, const Kernels<T>& kernels,
         std::shared_ptr<const Rate<T>> rate = nullptr);
  Engine(const Map& map, const Geometry& geometry, const Kernels<T>& kernels, std::shared_ptr<const Tables<T>> tables)
      : map_(map), geometry_(geometry), kernels_(kernels), tables_(std::move(tables)) {}

  const Map& map() const { return map_; }
  const Geometry& geometry() const { return geometry_; }
  const Kernels<T>& kernels() const { return kernels_; }
  bool direct() const { return geometry_.taps > 0; }
  int64_t inputs() const { return rate_ ? rate_->length() : map_.in; }  // elements of a row of u, and of y
  int64_t outputs() const { return rate_ ? rate_->length() : map_.out; }
  int64_t spectrum_items() const { return direct() ? geometry_.taps : geometry_.points * 2; }
  // What lags are to be multiplied by: the inverse transform leaves it out.
  T lag_factor() const { return direct() ? T(1) : T(1) / T(geometry_.points); }

  // `lags`: span + 1 values, that of lag lo first, times lag_factor(). `room`: spectrum_items() elements. Where sums
  // are direct, the lags are the spectrum.
  void transform(const T* lags, T* room, T* spectrum, int threads = 1) const;

  // One block of one row: first pass, product, last pass; or sums of products, which need in.source and in.z alone.
  void convolve(const LoadArgs<T>& in, const StoreArgs<T>& out, const T* spectrum, int threads) const;

  // `strided`: room to pack rows whose elements are not adjacent.
  size_t workspace_bytes(int threads, bool strided) const;
  void run(const Rows<T>& rows, char* workspace, int threads) const;

  size_t z_bytes() const {
    if (!direct()) return size_t(geometry_.points) * 2 * sizeof(T) + (rate_ ? rate_->bytes() : 0);
    return (size_t(direct_room(block_outputs(), geometry_.taps, kernels_.lanes)) * sizeof(T) + 63) / 64 * 64;
  }
  const Transform<T>* transform() const { return tables_ ? &tables_->transform() : nullptr; }
  int64_t columns() const { return tables_ ? tables_->transform().vectors / kernels_.lanes : 0; }
  Source<T> source(const T* data, const T* gate, int64_t block) const;
  Team<T> team(int threads) const { return {kernels_, tables_->transform(), threads}; }

 private:
  struct Job;
  void convolve_lower(const LoadArgs<T>& in, const StoreArgs<T>& out, const T* spectrum, int threads) const;
  int64_t group() const;          // rows that are packed together where their elements are not adjacent
  int64_t segment() const;        // elements of u that one block reads
  int64_t block_outputs() const;  // at most
  size_t pack_bytes() const;
  size_t thread_bytes(bool strided) const { return z_bytes() + (strided ? pack_bytes() : 0); }

  Map map_;
  Geometry geometry_;
  const Kernels<T>& kernels_;
  std::shared_ptr<const Tables<T>> tables_;
  std::shared_ptr<const Rate<T>> rate_;
};

// The same as Kernels::epilogue, in float64 arithmetic.
template <class T>
void epilogue_row(const EpilogueArgs<T>& args);

// s to post * activation(s) in float64 arithmetic, for rows whose kernels stored s.
template <class T>
void finish_row(T* y, const T* post, int64_t count, Activation activation, double negative_slope);

}  // namespace omniconv::fft
