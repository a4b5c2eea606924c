// conv/surroundings.cu -- what lies around the sums: packing of weights, outputs without terms, borders, the bias
#include "conv/implicit_gemm.cuh"
#include "conv/tables.cuh"

namespace omniconv::cuda {
namespace {

constexpr int kThreads = 128;

// One element of packed weights per thread; the pad behind the channels is zero.
template <class T>
__global__ void pack(Problem p, const T* weight, WeightView view, T* packed, int64_t row, int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t co = i % row, k = i / row % p.k(), g = i / row / p.k(), c = k % p.ci;
  int64_t tap = k / p.ci, at = view.offset + g * view.group + co * view.co + c * view.ci;
  for (int axis = kAxes - 1; axis >= 0; --axis) {
    at += tap % p.axis[axis].taps * view.tap[axis];
    tap /= p.axis[axis].taps;
  }
  packed[i] = co < p.co ? weight[at] : T(0);
}

template <class T>
void run_pack(const DeviceCall& call) {
  const Problem& p = *call.problem;
  const int64_t row = padded_channels(p), count = p.groups * p.k() * row;
  prim::launch(pack<T>, blocks_for(count, kThreads), kThreads, 0, call.stream, p, static_cast<const T*>(call.weight),
               call.view, static_cast<T*>(call.packed), row, count);
}

// The outputs of fill and fold are the inputs of the problem: one thread for each.
template <class T>
__device__ bool input_element(const Problem& p, int64_t i, Pixel* at, int64_t* channel) {
  const int64_t channels = p.groups * p.ci;
  const int64_t plane = p.axis[0].in * p.axis[1].in * p.axis[2].in;
  if (i >= p.batch * channels * plane) return false;
  at->n = int(i / plane / channels);
  *channel = i / plane % channels;
  at->o[0] = int(i % plane / (p.axis[1].in * p.axis[2].in));
  at->o[1] = int(i / p.axis[2].in % p.axis[1].in);
  at->o[2] = int(i % p.axis[2].in);
  return true;
}

int64_t input_elements(const Problem& p) {
  return p.batch * p.groups * p.ci * p.axis[0].in * p.axis[1].in * p.axis[2].in;
}

template <class T>
__global__ void fill(Arguments<T> a) {
  Pixel at;
  int64_t channel;
  if (input_element<T>(a.p, int64_t(blockIdx.x) * kThreads + threadIdx.x, &at, &channel)) finish(a, at, channel, T(0));
}

// Which elements of the padded input were copied from one element is found by trying all of the border, which is small,
// and the element itself, in rising order.
template <class T>
__global__ void fold(Arguments<T> a, Problem padded) {
  Pixel at;
  int64_t channel;
  if (!input_element<T>(a.p, int64_t(blockIdx.x) * kThreads + threadIdx.x, &at, &channel)) return;
  const T* grad = a.x + at.n * a.xs.n + channel * a.xs.c;
  T sum = 0;
  // Candidates along an axis: everything before the first element, the element itself, everything behind the last.
  const auto candidates = [&](int i) { return padded.axis[i].in - a.p.axis[i].in + 1; };
  const auto candidate = [&](int i, int64_t j) {
    const int64_t lo = a.p.axis[i].lo;
    return j < lo ? j : j == lo ? lo + at.o[i] : j - 1 + a.p.axis[i].in;
  };
  const auto meets = [&](int i, int64_t place) {
    return place < padded.axis[i].in && conv::border(place - a.p.axis[i].lo, a.p.axis[i].in, a.p.mode) == at.o[i];
  };
  for (int64_t d = 0; d < max(candidates(0), a.p.axis[0].lo + 1); ++d) {
    const int64_t pd = candidate(0, d);
    if (!meets(0, pd)) continue;
    for (int64_t h = 0; h < max(candidates(1), a.p.axis[1].lo + 1); ++h) {
      const int64_t ph = candidate(1, h);
      if (!meets(1, ph)) continue;
      for (int64_t w = 0; w < max(candidates(2), a.p.axis[2].lo + 1); ++w) {
        const int64_t pw = candidate(2, w);
        if (meets(2, pw)) sum += grad[pd * a.xs.axis[0] + ph * a.xs.axis[1] + pw * a.xs.axis[2]];
      }
    }
  }
  finish(a, at, channel, sum);
}

// One block per channel: threads take pixels in turn, then a tree adds what they have.
template <class T>
__global__ void sum_channel(Arguments<T> a, T* out, int64_t out_stride) {
  OMNICONV_SHARED(double, part, kThreads);
  const int t = int(threadIdx.x), pixels = int(a.p.pixels());
  double sum = 0;
  for (int m = t; m < pixels; m += kThreads) sum += double(a.y[offset_of(a.ys, pixel_of(a, m)) + blockIdx.x * a.ys.c]);
  part(t) = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) part(t) = part(t) + part(t + half);
  }
  if (t == 0) out[blockIdx.x * out_stride] = T(part(0));
}

// Parts of the gradient of the weights, one weight per thread.
__global__ void sum_parts(Arguments<float> a, const float* parts, int count, float* out, WeightView view) {
  const int64_t each = a.p.groups * a.p.k() * a.p.co, i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= each) return;
  double sum = 0;
  for (int part = 0; part < count; ++part) sum += double(parts[part * each + i]);
  const int64_t co = i % a.p.co, g = i / a.p.co / a.p.k();
  const Term term = term_of(a, int(i / a.p.co % a.p.k()));
  int64_t to = view.offset + g * view.group + co * view.co + term.c * view.ci;
  for (int axis = 0; axis < kAxes; ++axis) to += term.tap[axis] * view.tap[axis];
  out[to] = float(sum);
}

// Runs body<float> or body<double> as the call says, on its device.
template <class Body>
int typed(const DeviceCall* call, DeviceMessage* message, Body&& body) {
  return prim::guarded(message, [&] {
    const prim::On device(call->device);
    call->float64 ? body(double{}) : body(float{});
  });
}

}  // namespace

size_t packed_bytes(const DeviceAsk* ask) {
  const Problem& p = *ask->problem;
  return size_t(p.groups * p.k() * padded_channels(p)) * (ask->float64 ? 8 : 4);
}

int pack_weights(const DeviceCall* call, DeviceMessage* message) {
  return typed(call, message, [&](auto zero) { run_pack<decltype(zero)>(*call); });
}

int fill_epilogue(const DeviceCall* call, DeviceMessage* message) {
  return typed(call, message, [&](auto zero) {
    using T = decltype(zero);
    prim::launch(fill<T>, blocks_for(input_elements(*call->problem), kThreads), kThreads, 0, call->stream,
                 Arguments<T>(*call));
  });
}

int fold_border(const DeviceCall* call, const Problem* padded, DeviceMessage* message) {
  return typed(call, message, [&](auto zero) {
    using T = decltype(zero);
    prim::launch(fold<T>, blocks_for(input_elements(*call->problem), kThreads), kThreads, 0, call->stream,
                 Arguments<T>(*call), *padded);
  });
}

void add_parts(const DeviceCall& call, const Parts& cut) {
  const Problem& p = *call.problem;
  prim::launch(sum_parts, blocks_for(p.groups * p.k() * p.co, kThreads), kThreads, 0, call.stream,
               Arguments<float>(call), static_cast<const float*>(call.workspace), int(cut.count),
               static_cast<float*>(call.weight), call.view);
}

int grad_bias(const DeviceCall* call, DeviceMessage* message) {
  return typed(call, message, [&](auto zero) {
    using T = decltype(zero);
    prim::launch(sum_channel<T>, {unsigned(call->problem->co), 1, 1}, kThreads, 0, call->stream, Arguments<T>(*call),
                 static_cast<T*>(call->weight), call->view.co);
  });
}

}  // namespace omniconv::cuda
