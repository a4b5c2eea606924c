// conv/depthwise.cu -- one input channel per group: a sum over taps for every output, no tile to fill with channels
//
// Forward: a thread per output. Lanes run over pixels where these are adjacent in memory, over channels where those
// are, so the loads and stores of a warp fall into few lines. A matrix product would use one of its 32 or more columns.
//
// Gradient of the weights: a block per weight and part of the pixels, threads take pixels in turn, a tree adds them.
#include "conv/implicit_gemm.cuh"
#include "conv/tables.cuh"

namespace omniconv::cuda {
namespace {

constexpr int kThreads = 128;

// The order of the sum, and so its bits, are those of implicit_gemm.
__global__ void __launch_bounds__(kThreads) forward(Arguments<float> a, bool channels_fast) {
  const int64_t channels = a.p.groups * a.p.co, pixels = a.p.pixels();
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= channels * pixels) return;
  const int64_t plane = a.p.plane(), rest = i / plane;
  const int64_t channel = channels_fast ? i % channels : rest % channels;
  const int m = int(channels_fast ? i / channels : rest / channels * plane + i % plane);
  const Pixel at = pixel_of(a, m);
  const int64_t g = channel / a.p.co;
  const float* x = a.x + at.n * a.xs.n + g * a.xs.c;
  const float* w = a.weight + g * a.weight_group + channel % a.p.co;
  float total = 0, block = 0;
  Term term{};
  const int taps = int(a.p.k());
  for (int k = 0; k < taps; ++k, next_term(a, term)) {
    int64_t from;
    const float value = source_of(a, at, term, &from) ? x[from] : 0.0f;
    block = fmaf(value, w[k * a.weight_row], block);
    if ((k + 1) % kBlock == 0) {
      total += block;
      block = 0;
    }
  }
  finish(a, at, channel, total + block);
}

// Grid: weights, parts.
__global__ void __launch_bounds__(kThreads) grad_weight(Arguments<float> a, Parts cut, float* parts) {
  OMNICONV_SHARED(double, sums, kThreads);
  const int64_t co = blockIdx.x % a.p.co, g = blockIdx.x / a.p.co / a.p.k();
  const int k = int(blockIdx.x / a.p.co % a.p.k()), t = int(threadIdx.x);
  const Term term = term_of(a, k);
  const float *x = a.x + g * a.xs.c, *y = a.y + (g * a.p.co + co) * a.ys.c;
  const int64_t first = int64_t(blockIdx.y) * cut.pixels, left = a.p.pixels() - first;
  const int end = int(first + (left < cut.pixels ? left : cut.pixels));
  double sum = 0;
  for (int m = int(first) + t; m < end; m += kThreads) {
    const Pixel at = pixel_of(a, m);
    int64_t from;
    if (source_of(a, at, term, &from)) sum += double(x[at.n * a.xs.n + from] * y[offset_of(a.ys, at)]);
  }
  sums(t) = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) sums(t) = sums(t) + sums(t + half);
  }
  if (t == 0) parts[blockIdx.y * a.p.groups * a.p.k() * a.p.co + blockIdx.x] = float(sums(0));
}

Parts parts_of(const Problem& p) { return cut_pixels(p, p.groups * p.k() * p.co); }

void decline(const DeviceAsk* ask, DeviceMessage* message) {
  if (ask->float64) return say(message, "float64 runs on the reference alone");
  if (ask->problem->ci != 1) return say(message, "needs one input channel per group");
  decline_large(*ask->problem, message);
}

size_t workspace(const DeviceAsk* ask) {
  return ask->grad_weight ? parts_bytes(*ask->problem, parts_of(*ask->problem)) : 0;
}

// Not measured: a guess of 2 Tflop/s, for every multiply-add has a load and a test of the border.
double cost(const DeviceAsk* ask) { return 5e-6 + ask->problem->flops() / 2e12; }

}  // namespace

const DeviceAlgorithm kDepthwise = {
    "depthwise",
    "a sum over taps for every output of a group with one input channel",
    decline,
    workspace,
    packed_bytes,
    cost,
    pack_weights,
    [](const DeviceCall* call, DeviceMessage* message) {
      return prim::guarded(message, [&] {
        const prim::On device(call->device);
        const Problem& p = *call->problem;
        const bool channels_fast = call->xs.c == 1 && p.groups > 1;
        prim::launch(forward, blocks_for(p.pixels() * p.groups * p.co, kThreads), kThreads, 0, call->stream,
                     Arguments<float>(*call), channels_fast);
      });
    },
    [](const DeviceCall* call, DeviceMessage* message) {
      return prim::guarded(message, [&] {
        const prim::On device(call->device);
        const Problem& p = *call->problem;
        const Parts cut = parts_of(p);
        prim::launch(grad_weight, {unsigned(p.groups * p.k() * p.co), unsigned(cut.count), 1}, kThreads, 0,
                     call->stream, Arguments<float>(*call), cut, static_cast<float*>(call->workspace));
        add_parts(*call, cut);
      });
    },
};

}  // namespace omniconv::cuda
