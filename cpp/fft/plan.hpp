// fft/plan.hpp -- what a plan holds, and arrays as rows
#pragma once

#include <algorithm>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "conv/operands.hpp"
#include "core/thread_pool.hpp"
#include "core/workspace.hpp"
#include "fft/engine.hpp"

namespace omniconv {
namespace fft {

constexpr const char *kDirect = "direct", *kWhole = "fft", *kBlocks = "overlap_save", *kReference = "reference";
// Past this many taps transforms always win, by far.
constexpr int64_t kMaxDirectTaps = 1024;

[[noreturn]] inline void invalid(const std::string& message) { throw Error(Code::invalid_argument, message); }

template <class T>
View<const T> view_of(const TensorView& v, int64_t b, int64_t c, int64_t h, int64_t t) {
  if (!v.defined()) return {};
  return {static_cast<const T*>(v.data), b, c, h, t};
}
// [B, H, L] or [B, C, H, L].
template <class T>
View<const T> rows_of(const TensorView& v) {
  if (!v.defined()) return {};
  const int last = v.ndim - 1;
  // A row of one element is adjacent to itself, whatever its stride says.
  const int64_t t = v.shape[last] == 1 ? 1 : v.strides[last];
  return view_of<T>(v, v.strides[0], v.ndim == 4 ? v.strides[1] : 0, v.strides[last - 1], t);
}
template <class T>
View<T> writable(const TensorView& v) {
  const View<const T> r = rows_of<T>(v);
  return {const_cast<T*>(r.data), r.b, r.c, r.h, r.t};
}
// [H] or [C, H].
template <class T>
View<const T> channels_of(const TensorView& v) {
  if (!v.defined()) return {};
  return view_of<T>(v, 0, v.ndim == 2 ? v.strides[0] : 0, v.strides[v.ndim - 1], 1);
}

inline std::string shape_of(const TensorView& v) { return shape_string(v.shape.data(), v.ndim); }

inline void check_rows(const char* name, const TensorView& v, DType dtype, std::span<const int64_t> shape) {
  conv::check_shape(name, v, dtype, shape);
}

// Row i of [H, K] or [C, H, K].
template <class T>
const T* kernel_row(const TensorView& k, int64_t i) {
  const T* data = static_cast<const T*>(k.data);
  if (k.ndim == 2) return data + i * k.strides[0];
  return data + i / k.shape[1] * k.strides[0] + i % k.shape[1] * k.strides[1];
}

// Kernel i as lags of a direction, times `factor`.
template <class T>
void gather_lags(const FftConvDesc& desc, const Map& map, const TensorView& k, const TensorView& reverse,
                 FftDirection direction, int64_t i, T factor, T* lags) {
  const bool forward = direction == FftDirection::forward;
  const int64_t folds = map.circular ? desc.length : desc.taps;
  if (forward && !reverse.defined() && desc.taps <= folds && k.strides[k.ndim - 1] == 1) {  // one run of all lags
    const T* x = kernel_row<T>(k, i) + map.lo;
    const int64_t given = std::min(map.span() + 1, desc.taps - map.lo);
    for (int64_t j = 0; j < given; ++j) lags[j] = factor * x[j];
    std::fill(lags + given, lags + map.span() + 1, T(0));
    return;
  }
  std::fill(lags, lags + map.span() + 1, T(0));
  for (const bool back : {false, true}) {
    const TensorView& from = back ? reverse : k;
    lag_runs(desc, map, back, [&](int64_t tap, int64_t count, int64_t lag, int64_t step) {
      const int64_t x_step = from.strides[from.ndim - 1], to_step = forward ? step : -step;
      const T* x = kernel_row<T>(from, i) + tap * x_step;
      T* to = lags + (forward ? lag - map.lo : map.hi - lag);
      if (x_step == 1 && to_step == 1)
        for (int64_t j = 0; j < count; ++j) to[j] += factor * x[j];
      else
        for (int64_t j = 0; j < count; ++j) to[j * to_step] += factor * x[j * x_step];
    });
  }
}

// Lags of the forward map to row i of the kernels; 0 for taps that no output needs.
template <class T>
void put_taps(const FftConvDesc& desc, const Map& map, const TensorView& to, bool reverse, int64_t i, const T* lags) {
  if (!to.defined()) return;
  const int64_t count = to.shape[to.ndim - 1], step = to.strides[to.ndim - 1];
  T* row = const_cast<T*>(kernel_row<T>(to, i));
  int64_t done = 0;
  const auto zero = [&](int64_t end) {
    for (; done < end; ++done) row[done * step] = T(0);
  };
  if (lags)
    lag_runs(desc, map, reverse, [&](int64_t tap, int64_t taps, int64_t lag, int64_t lag_step) {
      zero(tap);
      for (int64_t j = 0; j < taps; ++j) row[(tap + j) * step] = lags[lag - map.lo + j * lag_step];
      done = tap + taps;
    });
  zero(count);
}

template <class T>
struct Engines {
  Engine<T> forward, adjoint;
};

}  // namespace fft

namespace fft {

// Memory of a spectrum. The latest one that was given up is kept, up to the size that a thread's arena keeps: kernels
// that are transformed in every call would have the system clear pages for as long as the transforms take.
class SpectrumMemory {
 public:
  SpectrumMemory() = default;
  explicit SpectrumMemory(size_t bytes);
  ~SpectrumMemory();
  SpectrumMemory(SpectrumMemory&& other) noexcept = default;
  SpectrumMemory& operator=(SpectrumMemory&& other) noexcept = default;
  void* data() const { return buffer_.data(); }
  size_t size() const { return bytes_; }

 private:
  AlignedBuffer buffer_;
  size_t bytes_ = 0;
};

}  // namespace fft

struct FftSpectrum::Impl {
  std::vector<int64_t> rows;
  FftDirection direction;
  bool per_sample;
  int64_t items;  // per row
  fft::SpectrumMemory data;
  const void* plan;
};

struct FftConvPlan::Impl {
  FftConvDesc desc;
  fft::Map map = fft::map_of(desc);
  std::string algorithm;
  std::vector<AlgorithmInfo> infos;
  std::optional<fft::Engines<float>> f32;
  std::optional<fft::Engines<double>> f64;

  bool reference() const { return algorithm == fft::kReference; }
  template <class T>
  const fft::Engine<T>& engine(FftDirection direction) const {
    if constexpr (sizeof(T) == 4)
      return direction == FftDirection::forward ? f32->forward : f32->adjoint;
    else
      return direction == FftDirection::forward ? f64->forward : f64->adjoint;
  }

  template <class T>
  fft::Engines<T> engines() const;
  explicit Impl(const FftConvDesc& d);

  int64_t inputs(FftDirection d) const {
    return desc.halvings ? desc.length : d == FftDirection::forward ? map.in : map.out;
  }
  int64_t outputs(FftDirection d) const {
    return desc.halvings ? desc.length : d == FftDirection::forward ? map.out : map.in;
  }

  template <class T>
  size_t workspace_bytes(int threads, bool strided) const {
    if (reference()) {  // whole lines, so that the doubles of every thread are aligned
      const size_t bytes = size_t(map.in + map.out) * (sizeof(T) + sizeof(double));
      return size_t(threads) * ((bytes + 191) / 64 * 64);
    }
    return std::max(engine<T>(FftDirection::forward).workspace_bytes(threads, strided),
                    engine<T>(FftDirection::adjoint).workspace_bytes(threads, strided));
  }
  size_t workspace_bytes(int threads, bool strided) const {
    return desc.dtype == DType::float32 ? workspace_bytes<float>(threads, strided)
                                        : workspace_bytes<double>(threads, strided);
  }

  template <class T>
  void transform(const TensorView& k, const TensorView& reverse, FftSpectrum::Impl& to) const;
  template <class T>
  void run(const FftSpectrum::Impl& spectrum, const FftConvOperands& o, char* workspace, int threads) const;
  template <class T>
  void run_reference(const fft::Rows<T>& rows, FftDirection direction, char* workspace, int threads) const;
  template <class T>
  void reference_kernel_gradient(const TensorView& u, const TensorView& pre, const TensorView& grad,
                                 const TensorView& dk, const TensorView& dr, bool per_sample) const;
  template <class T>
  void backward(const FftConvBackward& o, const FftSpectrum* spectrum) const;
  void check(const FftSpectrum::Impl& spectrum, const FftConvOperands& o) const;
};

}  // namespace omniconv
