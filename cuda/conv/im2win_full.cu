// conv/im2win_full.cu -- im2win as the paper has it, the array of windows written out, and the steps that lead to it
//
// One kernel forms the array of every row of outputs in the workspace, a second multiplies its windows by the weights.
// The steps are those whose gains the paper takes apart (Euro-Par 2023), each an algorithm by name, so that the
// ablation can be run again; all add the same terms in the same order:
//   im2win_naive     a thread per output, both operands from global memory
//   im2win_shared    the weights of a block of 16 x 16 outputs through shared memory
//   im2win_tiled     its windows too
//   im2win_micro     8 x 8 outputs a thread, in tiles of 128 pixels x 64 channels
//   im2win_buffered  operands of the next step go to a second buffer
//   im2win_full      and are fetched into registers while those of this step are multiplied
#include "conv/im2win.cuh"
#include "conv/tables.cuh"

namespace omniconv::cuda {
namespace {

enum class Step { naive, shared, tiled, micro, buffered, full };

constexpr int kThreads = 256, kSide = 16, kDepth = 32;
static_assert(kBlock % kDepth == 0);
using Shape = Tile<128, 64, 8, 8>;

// One element of the arrays [row of outputs][group][columns][rows][ci] a thread.
__global__ void __launch_bounds__(kThreads) form(Arguments<float> a, Windows w, float* windows, int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t length = int64_t(w.columns) * w.column, place = i / length, row = place / a.p.groups;
  const Pixel at = pixel_of(a, int(row * a.p.axis[2].out));
  windows[i] = window_element(a, w, at, place % a.p.groups, 0, int(i % length));
}

// The window of a pixel.
struct WindowRows {
  const Windows& w;
  const float* window;
  int terms;
  bool inside;

  __device__ WindowRows(const Arguments<float>& a, const Windows& w, const float* windows, int m, int64_t group)
      : w(w), window(windows), terms(int(a.p.k())), inside(m < int(a.p.pixels())) {
    if (!inside) return;
    const int row = a.by_width.quotient(m), o = m - row * int(a.by_width.divisor);
    window += (row * a.p.groups + group) * w.columns * w.column + int64_t(o) * w.step;
  }
  __device__ float at(int k) const {
    const int tap = w.by_column.quotient(k);
    return window[int64_t(tap) * w.run + (k - tap * w.column)];
  }
  template <int kCount>
  __device__ void fetch(int k, float (&values)[kCount]) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = inside && k + i < terms ? at(k + i) : 0.0f;
  }
};

// A thread per output.
template <Step kStep>
__global__ void __launch_bounds__(kThreads) one_each(Arguments<float> a, Windows w, const float* windows) {
  OMNICONV_SHARED(float, y, kDepth* kSide);
  OMNICONV_SHARED(float, x, kSide*(kDepth + 1));
  const int tiles = int((a.p.co + kSide - 1) / kSide), i = int(blockIdx.x), t = int(threadIdx.x);
  const int64_t group = i / tiles % a.p.groups;
  const int channel = i % tiles * kSide + t % kSide, m = int(i / tiles / a.p.groups) * kSide + t / kSide;
  const WindowRows rows(a, w, windows, m, group);
  const bool inside = channel < int(a.p.co);
  const float* from = a.weight + group * a.weight_group + (inside ? channel : 0);
  float total = 0, block = 0;
  for (int k = 0; k < rows.terms; k += kDepth) {
    const int depth = min(kDepth, rows.terms - k);
    if constexpr (kStep != Step::naive) {
      __syncthreads();
      for (int d = t / kSide; d < depth; d += kSide) y(d * kSide + t % kSide) = from[(k + d) * a.weight_row];
      if constexpr (kStep == Step::tiled)
        for (int d = t % kSide; d < depth; d += kSide)
          x(t / kSide * (kDepth + 1) + d) = rows.inside ? rows.at(k + d) : 0.0f;
      __syncthreads();
    }
    for (int d = 0; d < depth; ++d) {
      float value = 0, weight = 0;
      if constexpr (kStep == Step::tiled)
        value = x(t / kSide * (kDepth + 1) + d);
      else if (rows.inside)
        value = rows.at(k + d);
      if constexpr (kStep == Step::naive)
        weight = from[(k + d) * a.weight_row];
      else
        weight = y(d * kSide + t % kSide);
      block = fmaf(value, weight, block);
    }
    if ((k + kDepth) % kBlock == 0) {
      total += block;
      block = 0;
    }
  }
  if (inside && rows.inside) finish(a, pixel_of(a, m), group * a.p.co + channel, total + block);
}

template <Staging kStaging>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kResident)
    tiles(Arguments<float> a, Windows w, const float* windows) {
  const TilePlace place = tile_place<Shape>(a.p.co, a.p.groups);
  const WindowRows rows(a, w, windows, place.row + Shape::fetch_row(), place.group);
  const WeightColumns columns(a, place.column + Shape::fetch_column(), place.group);
  float sums[Shape::kTileRows][Shape::kTileColumns];
  sum_tile<Shape, true, kStaging>(rows, columns, rows.terms, sums);
#pragma unroll
  for (int i = 0; i < Shape::kTileRows; ++i) {
    const int m = place.row + Shape::row(i);
    if (m >= int(a.p.pixels())) continue;
    const Pixel at = pixel_of(a, m);
#pragma unroll
    for (int j = 0; j < Shape::kTileColumns; ++j) {
      const int co = place.column + Shape::column(j);
      if (co < int(a.p.co)) finish(a, at, place.group * a.p.co + co, sums[i][j]);
    }
  }
}

int64_t window_elements(const Problem& p) {
  const Windows w(p);
  return p.rows() * p.groups * w.columns * w.column;
}
int64_t small_tiles(const Problem& p) {
  return (p.pixels() + kSide - 1) / kSide * ((p.co + kSide - 1) / kSide) * p.groups;
}

void decline(const DeviceAsk* ask, DeviceMessage* message) {
  const Problem& p = *ask->problem;
  decline_windows(ask, message);
  if (message->text[0]) return;
  if (small_tiles(p) >= int64_t{1} << 30 || window_elements(p) >= int64_t{1} << 37)
    say(message, "has more than 2^30 tiles or 2^37 elements of windows");
}

template <Step kStep>
void run(const DeviceCall& call) {
  const Problem& p = *call.problem;
  const Arguments<float> a(call);
  const Windows w(p);
  float* windows = static_cast<float*>(call.workspace);
  const int64_t count = window_elements(p);
  prim::launch(form, blocks_for(count, kThreads), kThreads, 0, call.stream, a, w, windows, count);
  if constexpr (kStep < Step::micro) {
    prim::launch(one_each<kStep>, {unsigned(small_tiles(p)), 1, 1}, kThreads, 0, call.stream, a, w, windows);
  } else {
    constexpr Staging kStaging = kStep == Step::micro      ? Staging::single
                                 : kStep == Step::buffered ? Staging::buffered
                                                           : Staging::prefetched;
    const prim::Grid grid{unsigned(tile_count<Shape>(p.pixels(), p.co, p.groups)), 1, 1};
    prim::launch(tiles<kStaging>, grid, Shape::kThreads, 0, call.stream, a, w, windows);
  }
}

// Not measured: guesses that keep the steps in order, and behind the algorithms that need no workspace.
template <Step kStep>
double cost(const DeviceAsk* ask) {
  constexpr double kRates[] = {0.5e12, 1e12, 2e12, 10e12, 12e12, 14e12};
  return 1e-5 + double(window_elements(*ask->problem)) * 8 / 1e12 + ask->problem->flops() / kRates[int(kStep)];
}

template <Step kStep>
constexpr DeviceAlgorithm entry(const char* name, const char* summary) {
  return {name,
          summary,
          decline,
          [](const DeviceAsk* ask) { return size_t(window_elements(*ask->problem)) * sizeof(float); },
          packed_bytes,
          cost<kStep>,
          pack_in_windows,
          [](const DeviceCall* call, DeviceMessage* message) {
            return prim::guarded(message, [&] {
              const prim::On device(call->device);
              run<kStep>(*call);
            });
          },
          [](const DeviceCall*, DeviceMessage* message) {
            say(message, "im2win has no gradient of the weights");
            return kDeviceError;
          }};
}

}  // namespace

const DeviceAlgorithm kIm2winFull = entry<Step::full>("im2win_full", "the array of windows, tiles, fetched ahead");
const DeviceAlgorithm kIm2winSteps[] = {
    entry<Step::buffered>("im2win_buffered", "step of im2win_full: two buffers, nothing fetched ahead"),
    entry<Step::micro>("im2win_micro", "step of im2win_full: 8 x 8 outputs a thread, one buffer"),
    entry<Step::tiled>("im2win_tiled", "step of im2win_full: both operands through shared memory"),
    entry<Step::shared>("im2win_shared", "step of im2win_full: the weights through shared memory"),
    entry<Step::naive>("im2win_naive", "step of im2win_full: a thread per output, no shared memory"),
};

}  // namespace omniconv::cuda
