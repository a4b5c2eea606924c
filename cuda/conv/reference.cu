// conv/reference.cu -- dense convolution as the formula says it, one thread per result, sums in float64
//
// For float64 arrays, and to compare the other kernels with where the CPU is not at hand.
#include "conv/tables.cuh"

namespace omniconv::cuda {
namespace {

constexpr int kThreads = 128;

template <class T>
__global__ void forward(Arguments<T> a) {
  const int64_t channels = a.p.groups * a.p.co, i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= channels * a.p.pixels()) return;
  const int64_t plane = a.p.plane(), channel = i / plane % channels;
  const Pixel at = pixel_of(a, int(i / plane / channels * plane + i % plane));
  const int64_t g = channel / a.p.co;
  const T* w = a.weight + g * a.weight_group + channel % a.p.co;
  double sum = 0;
  Term term{};
  for (int k = 0; k < int(a.p.k()); ++k, next_term(a, term)) {
    int64_t from;
    if (!source_of(a, at, term, &from)) continue;
    const T x = a.x[at.n * a.xs.n + (g * a.p.ci + term.c) * a.xs.c + from];
    sum += double(x) * double(w[k * a.weight_row]);
  }
  finish(a, at, channel, sum);
}

template <class T>
__global__ void grad_weight(Arguments<T> a, T* out, WeightView view) {
  const int64_t terms = a.p.k(), i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= a.p.groups * a.p.co * terms) return;
  const int64_t channel = i / terms, g = channel / a.p.co;
  const Term term = term_of(a, int(i % terms));
  double sum = 0;
  Pixel at{};
  for (int m = 0; m < int(a.p.pixels()); ++m, next_pixel(a, at)) {
    int64_t from;
    if (!source_of(a, at, term, &from)) continue;
    const T x = a.x[at.n * a.xs.n + (g * a.p.ci + term.c) * a.xs.c + from];
    sum += double(x) * double(a.y[offset_of(a.ys, at) + channel * a.ys.c]);
  }
  int64_t to = view.offset + g * view.group + channel % a.p.co * view.co + term.c * view.ci;
  for (int axis = 0; axis < kAxes; ++axis) to += term.tap[axis] * view.tap[axis];
  out[to] = T(sum);
}

template <class T>
void run_forward(const DeviceCall& call) {
  const int64_t count = call.problem->pixels() * call.problem->groups * call.problem->co;
  prim::launch(forward<T>, blocks_for(count, kThreads), kThreads, 0, call.stream, Arguments<T>(call));
}

template <class T>
void run_grad_weight(const DeviceCall& call) {
  const int64_t count = call.problem->k() * call.problem->groups * call.problem->co;
  prim::launch(grad_weight<T>, blocks_for(count, kThreads), kThreads, 0, call.stream, Arguments<T>(call),
               static_cast<T*>(call.weight), call.view);
}

// Not measured: a guess of 0.5 Tflop/s for one dependent load and multiply-add after the other.
double cost(const DeviceAsk* ask) { return 1e-5 + ask->problem->flops() / 0.5e12; }

}  // namespace

const DeviceAlgorithm kReference = {
    "reference",
    "one thread per result, summed in float64",
    [](const DeviceAsk* ask, DeviceMessage* message) { decline_large(*ask->problem, message); },
    [](const DeviceAsk*) { return size_t{0}; },
    packed_bytes,
    cost,
    pack_weights,
    [](const DeviceCall* call, DeviceMessage* message) {
      return prim::guarded(message, [&] {
        const prim::On device(call->device);
        call->float64 ? run_forward<double>(*call) : run_forward<float>(*call);
      });
    },
    [](const DeviceCall* call, DeviceMessage* message) {
      return prim::guarded(message, [&] {
        const prim::On device(call->device);
        call->float64 ? run_grad_weight<double>(*call) : run_grad_weight<float>(*call);
      });
    },
};

}  // namespace omniconv::cuda
