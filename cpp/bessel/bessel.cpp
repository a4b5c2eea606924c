// bessel/bessel.cpp -- shapes, strides and threads of the Bessel functions
#include "omniconv/bessel.hpp"

#include <algorithm>
#include <string>

#include "bessel/device_bessel.hpp"
#include "core/device.hpp"
#include "core/thread_pool.hpp"

namespace omniconv {
namespace bessel {

const Kernels& kernels() {
  switch (current_isa()) {
#ifdef OMNICONV_WITH_AVX512
    case Isa::amx:
    case Isa::avx512vnni:
    case Isa::avx512: return avx512::bessel_kernels();
#endif
#ifdef OMNICONV_WITH_AVX2
    case Isa::avx2: return avx2::bessel_kernels();
#endif
#ifdef OMNICONV_WITH_NEON
    case Isa::neon: return neon::bessel_kernels();
#endif
    default: return scalar::bessel_kernels();
  }
}

namespace {

constexpr int kChunk = 16384;  // values a thread takes at a time: 0.1 to 2 ms
constexpr int kCopy = 1024;    // values copied at a time where the last axis has strides

bool is_grad(BesselFunction f) { return f >= BesselFunction::log_iv_grad; }

void run(const BatchArgs<float>& a) { kernels().f32(a); }
void run(const BatchArgs<double>& a) { kernels().f64(a); }

void check_broadcast(const TensorView& in, const char* name, const TensorView& out) {
  bool fits = in.ndim <= out.ndim;
  for (int i = 1; fits && i <= in.ndim; ++i) {
    const int64_t n = in.shape[in.ndim - i];
    fits = n == 1 || n == out.shape[out.ndim - i];
  }
  if (!fits)
    throw Error(Code::invalid_argument, std::string(name) + " has shape " + shape_string(in.shape.data(), in.ndim) +
                                            ", which does not broadcast to that of out, " +
                                            shape_string(out.shape.data(), out.ndim));
}

// `in` as a view of the shape of out: stride 0 where it repeats.
TensorView broadcast(const TensorView& in, const TensorView& out) {
  TensorView b = out;
  b.data = in.data;
  for (int i = 1; i <= out.ndim; ++i) {
    const bool repeats = i > in.ndim || in.shape[in.ndim - i] == 1;
    b.strides[out.ndim - i] = repeats ? 0 : in.strides[in.ndim - i];
  }
  return b;
}

struct Range {
  uintptr_t low, high;  // bytes
};
Range range(const TensorView& v) {
  int64_t low = 0, high = 0;
  for (int i = 0; i < v.ndim; ++i) {
    const int64_t reach = (v.shape[i] - 1) * v.strides[i];
    (reach < 0 ? low : high) += reach;
  }
  const auto base = reinterpret_cast<uintptr_t>(v.data);
  return {base + uintptr_t(low * v.item_size()), base + uintptr_t((high + 1) * v.item_size())};
}
bool overlap(const TensorView& a, const TensorView& b) {
  const Range x = range(a), y = range(b);
  return x.low < y.high && y.low < x.high;
}
bool identical(const TensorView& a, const TensorView& b) {
  return a.data == b.data && std::equal(a.strides.begin(), a.strides.begin() + a.ndim, b.strides.begin());
}

// `in` and `out` of one shape. Element by element is fine, anything else would read what was written before.
void check_overlap(const TensorView& in, const char* name, const TensorView& out, const char* out_name) {
  if (overlap(in, out) && !identical(in, out))
    throw Error(Code::invalid_argument,
                std::string(out_name) + " overlaps " + name + "; it may be " + name + " itself or must lie apart");
}

// Axes that follow one another in memory in every array become one, so that rows are long.
void merge_axes(TensorView* views, int count) {
  TensorView& first = views[0];
  int kept = 0;
  for (int axis = 0; axis < first.ndim; ++axis) {
    if (first.shape[axis] == 1 && first.ndim > 1) continue;
    bool joins = kept > 0;
    for (int i = 0; joins && i < count; ++i)
      joins = views[i].strides[kept - 1] == views[i].strides[axis] * views[i].shape[axis];
    for (int i = 0; i < count; ++i) {
      TensorView& v = views[i];
      const int64_t length = v.shape[axis], stride = v.strides[axis];
      if (joins) {
        v.shape[kept - 1] *= length;
        v.strides[kept - 1] = stride;
      } else {
        v.shape[kept] = length;
        v.strides[kept] = stride;
      }
    }
    kept += !joins;
  }
  if (kept == 0) {  // a single element
    for (int i = 0; i < count; ++i) views[i].shape[0] = 1, views[i].strides[0] = 0;
    kept = 1;
  }
  for (int i = 0; i < count; ++i) views[i].ndim = kept;
}

template <class T>
struct Iteration {
  BesselFunction function;
  TensorView views[4];  // v, x, out, second
  int count;
  bool in_place = false;

  T* at(int which, int64_t row) const {
    const TensorView& v = views[which];
    int64_t offset = 0;
    for (int axis = v.ndim - 2; axis >= 0; --axis) {
      offset += row % v.shape[axis] * v.strides[axis];
      row /= v.shape[axis];
    }
    return static_cast<T*>(v.data) + offset;
  }

  // n elements of one row, from `first`: where they are if they follow one another, otherwise through copies.
  void part(int64_t row, int64_t first, int n) const {
    const int last = views[0].ndim - 1;
    T* at_first[4] = {};
    bool dense = !in_place;
    for (int i = 0; i < count; ++i) {
      at_first[i] = at(i, row) + first * views[i].strides[last];
      dense = dense && (views[i].strides[last] == 1 || n == 1);
    }
    if (dense) return run({function, n, at_first[0], at_first[1], {at_first[2], at_first[3]}});
    T v[kCopy], x[kCopy], out[2][kCopy];
    for (int done = 0; done < n; done += kCopy) {
      const int part = std::min(kCopy, n - done);
      read(0, at_first[0], done, part, v);
      read(1, at_first[1], done, part, x);
      run({function, part, v, x, {out[0], out[1]}});
      for (int k = 2; k < count; ++k) {
        const int64_t step = views[k].strides[last];
        for (int i = 0; i < part; ++i) at_first[k][(done + i) * step] = out[k - 2][i];
      }
    }
  }

  void read(int which, const T* from, int first, int n, T* to) const {
    const int64_t step = views[which].strides[views[which].ndim - 1];
    for (int i = 0; i < n; ++i) to[i] = from[(first + i) * step];
  }
};

void evaluate_on(const DevicePlugin& plugin, BesselFunction function, const TensorView (&views)[4], int count,
                 void* stream) {
  static_assert(kDeviceAxes == kMaxDims);
  const TensorView& out = views[2];
  DeviceBesselCall call{};
  call.function = function;
  call.device = out.device.id;
  call.stream = stream;
  call.float64 = out.dtype == DType::float64;
  call.v = views[0].data;
  call.x = views[1].data;
  call.out[0] = out.data;
  call.out[1] = views[3].data;
  call.axes = out.ndim;
  for (int axis = 0; axis < out.ndim; ++axis) {
    call.shape[axis] = out.shape[axis];
    for (int k = 0; k < count; ++k) call.strides[k][axis] = views[k].strides[axis];
  }
  call.rules = trapezoids();
  DeviceMessage message;
  check(plugin.bessel->evaluate(&call, &message), message);
}

template <class T>
void evaluate(BesselFunction function, const TensorView& v, const TensorView& x, const TensorView& out,
              const TensorView& second, void* stream) {
  Iteration<T> it{function, {broadcast(v, out), broadcast(x, out), out, second}, is_grad(function) ? 4 : 3};
  const int64_t total = out.size();
  if (total == 0) return;
  for (int k = 2; k < it.count; ++k) {
    check_overlap(it.views[0], "v", it.views[k], k == 2 ? "out" : "second");
    check_overlap(it.views[1], "x", it.views[k], k == 2 ? "out" : "second");
    it.in_place = it.in_place || overlap(it.views[0], it.views[k]) || overlap(it.views[1], it.views[k]);
  }
  if (it.count == 4 && overlap(out, second)) throw Error(Code::invalid_argument, "second overlaps out");
  merge_axes(it.views, it.count);
  if (const DevicePlugin* plugin = plugin_of(out.device))
    return evaluate_on(*plugin, function, it.views, it.count, stream);
  const TensorView& shape = it.views[0];
  const int64_t length = shape.shape[shape.ndim - 1];
  parallel_for((total + kChunk - 1) / kChunk, [&](int64_t task, int) {
    const int64_t end = std::min<int64_t>(total, (task + 1) * kChunk);
    for (int64_t at = task * kChunk; at < end;) {
      const int64_t row = at / length, first = at % length;
      const int64_t n = std::min(length - first, end - at);
      it.part(row, first, int(n));
      at += n;
    }
  });
}

template <class T>
T one(BesselFunction function, T v, T x) {
  if (is_grad(function))
    throw Error(Code::invalid_argument, "function is a gradient, which has two outputs; pass arrays");
  T out;
  run({function, 1, &v, &x, {&out, nullptr}});
  return out;
}

}  // namespace
}  // namespace bessel

void evaluate(BesselFunction function, const TensorView& v, const TensorView& x, const TensorView& out,
              const TensorView& second, void* stream) {
  if (!v.defined() || !x.defined() || !out.defined())
    throw Error(Code::invalid_argument, "v, x and out must be defined");
  if (v.dtype != x.dtype || v.dtype != out.dtype)
    throw Error(Code::type_error, std::string("v is ") + name(v.dtype) + ", x is " + name(x.dtype) + " and out is " +
                                      name(out.dtype) + "; they must be the same");
  const auto check_device = [&](const TensorView& array, const char* argument) {
    if (array.device != out.device)
      throw Error(Code::invalid_argument,
                  std::string(argument) + " is on " + name(array.device) + " and out is on " + name(out.device));
  };
  check_device(v, "v");
  check_device(x, "x");
  if (v.dtype != DType::float32 && v.dtype != DType::float64)
    throw Error(Code::type_error, std::string("v is ") + name(v.dtype) + "; supported are float32 and float64");
  bessel::check_broadcast(v, "v", out);
  bessel::check_broadcast(x, "x", out);
  if (bessel::is_grad(function)) {
    if (!second.defined()) throw Error(Code::invalid_argument, "second is undefined; a gradient has two outputs");
    bool same = second.ndim == out.ndim && second.dtype == out.dtype;
    for (int i = 0; same && i < out.ndim; ++i) same = second.shape[i] == out.shape[i];
    if (!same) throw Error(Code::invalid_argument, "second must have the shape and dtype of out");
    check_device(second, "second");
  } else if (second.defined()) {
    throw Error(Code::invalid_argument, "second is defined, but only the gradients have two outputs");
  }
  if (out.dtype == DType::float32)
    bessel::evaluate<float>(function, v, x, out, second, stream);
  else
    bessel::evaluate<double>(function, v, x, out, second, stream);
}

double evaluate(BesselFunction function, double v, double x) { return bessel::one(function, v, x); }
float evaluate(BesselFunction function, float v, float x) { return bessel::one(function, v, x); }

}  // namespace omniconv
