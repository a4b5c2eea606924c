// bessel/evaluate.cuh -- the formulas of cpp/bessel, one value to a thread
//
// The text is that of the CPU, on vectors of one element. Which formula a value needs follows from the value alone, as
// there; a warp runs those of its 32 values one after the other, and neighbours mostly share one.
#pragma once

#include "prim/device.cuh"
#include "prim/prim.cuh"

#define OMNICONV_ONE_LANE
#define OMNICONV_ISA_NS lane
#include "bessel/device_bessel.hpp"
#include "bessel/regions.inl.hpp"

namespace omniconv::cuda {

using bessel::DeviceBesselCall;
using bessel::kDeviceAxes;
using bessel::kTrapezoids;
using bessel::Trapezoid;

constexpr int kThreads = 128;

// The integrals of K, 16 KB of them, are parameters of its kernels: they lie in the bank of constants, which gives all
// lanes of a warp the same number at once.
template <bool kNeeded>
struct Rules {
  explicit Rules(const Trapezoid*) {}
  __device__ const Trapezoid* rows() const { return nullptr; }
};
template <>
struct Rules<true> {
  Trapezoid row[kTrapezoids];
  explicit Rules(const Trapezoid* from) {
    for (int i = 0; i < kTrapezoids; ++i) row[i] = from[i];
  }
  __device__ const Trapezoid* rows() const { return row; }
};

template <BesselFunction F, class T>
struct Values {
  static constexpr bool kIsK = bessel::lane::is_k(F);
  int64_t count = 1;
  int axes;
  int64_t shape[kDeviceAxes], strides[4][kDeviceAxes];
  const T *v, *x;
  T* out[2];
  Rules<kIsK> rules;

  explicit Values(const DeviceBesselCall& call)
      : axes(call.axes),
        v(static_cast<const T*>(call.v)),
        x(static_cast<const T*>(call.x)),
        out{static_cast<T*>(call.out[0]), static_cast<T*>(call.out[1])},
        rules(call.rules) {
    for (int i = 0; i < axes; ++i) {
      count *= shape[i] = call.shape[i];
      for (int k = 0; k < 4; ++k) strides[k][i] = call.strides[k][i];
    }
  }
};

template <BesselFunction F, class T>
__global__ void __launch_bounds__(kThreads) evaluate(const __grid_constant__ Values<F, T> a) {
  using namespace bessel::lane;
  constexpr bool kIsI = F == BesselFunction::log_iv || F == BesselFunction::log_ive;
  int64_t rest = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (rest >= a.count) return;
  int64_t at[4] = {};
  for (int i = a.axes - 1; i >= 0; --i) {
    const int64_t before = i > 0 ? rest / a.shape[i] : 0, index = rest - before * a.shape[i];
    for (int k = 0; k < 4; ++k) at[k] += index * a.strides[k][i];
    rest = before;
  }
  T v = a.v[at[0]];
  const T x = a.x[at[1]];
  if (kIsI && v < 0 && trunc(v) == v) v = -v;              // I of negative whole order
  const T order = is_k(F) && is_log(F) && v < 0 ? -v : v;  // and K of any
  T first = 0, second = 0;
  const int region = int(region_of<F>(Lane<T>{order}, Lane<T>{x}).n);
  if (region == kSpecial) {
    const bessel::Result<T> r = special<F>(v, x);
    first = r.first;
    second = r.second;
  } else if (sizeof(T) == 8 || region < kSmall) {
    run<F, Lane<T>>(region, 1, &v, &x, &first, &second, a.rules.rows());
  } else {
    const double wide_v = v, wide_x = x;
    double wide_first = 0, wide_second = 0;
    run<F, Lane<double>>(region, 1, &wide_v, &wide_x, &wide_first, &wide_second, a.rules.rows());
    first = T(wide_first);
    second = T(wide_second);
  }
  a.out[0][at[2]] = first;
  if constexpr (is_grad(F)) a.out[1][at[3]] = second;
}

template <BesselFunction F, class T>
void launch_one(const DeviceBesselCall& call) {
  const Values<F, T> values(call);
  const prim::Grid grid{unsigned((values.count + kThreads - 1) / kThreads), 1, 1};
  prim::launch(evaluate<F, T>, grid, kThreads, 0, call.stream, values);
}

template <class T>
void evaluate_all(const DeviceBesselCall& call) {
  using B = BesselFunction;
  switch (call.function) {
    case B::log_iv: return launch_one<B::log_iv, T>(call);
    case B::log_kv: return launch_one<B::log_kv, T>(call);
    case B::log_ive: return launch_one<B::log_ive, T>(call);
    case B::log_kve: return launch_one<B::log_kve, T>(call);
    case B::iv_ratio: return launch_one<B::iv_ratio, T>(call);
    case B::iv_ratioc: return launch_one<B::iv_ratioc, T>(call);
    case B::kv_ratio: return launch_one<B::kv_ratio, T>(call);
    case B::iv_ratio_dx: return launch_one<B::iv_ratio_dx, T>(call);
    case B::log_iv_grad: return launch_one<B::log_iv_grad, T>(call);
    case B::log_kv_grad: return launch_one<B::log_kv_grad, T>(call);
  }
}

}  // namespace omniconv::cuda
