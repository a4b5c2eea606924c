// conv/depthwise_large.cu -- depthwise convolution of many taps: a plane's tile in shared memory, read once for each
// row of taps
//
// A block computes 32 x 32 outputs of one channel of one image, a thread 8 adjacent ones. A row of taps slides over 8
// inputs in registers: a tap costs one load of an input, one broadcast of a weight and 8 multiply-adds, where a thread
// per output loads both for each. Rows of the tile are a multiple of 32 and one element long: the lanes of a warp, 8
// rows by 4 groups of 8 outputs, then fall into 32 banks.
#include "conv/implicit_gemm.cuh"
#include "conv/tables.cuh"

namespace omniconv::cuda {
namespace {

constexpr int kSide = 32, kRun = 8, kAcross = kSide / kRun, kThreads = kSide * kAcross;
constexpr int kFewest = 7, kMost = 64;                        // taps along either axis
constexpr int kMostRuns = kMost * (kMost / kRun) / kThreads;  // of taps, for a thread

struct Cut {
  int across, down;  // tiles
  int rows, columns, pitch;
};

Cut cut_of(const Problem& p) {
  const int columns = kSide - 1 + (int(p.axis[2].taps) + kRun - 1) / kRun * kRun;  // whole runs
  return {int((p.axis[2].out + kSide - 1) / kSide), int((p.axis[1].out + kSide - 1) / kSide),
          kSide - 1 + int(p.axis[1].taps), columns, (columns + 30) / 32 * 32 + 1};
}

// Sums of 8 neighbours: run[m] = sum over the rows and columns of `other` of other[i][j] tile[i][j + m], the tile from
// `at` on. k rises over all of it, and every kBlock terms the block's sum is added to the total.
struct Sums {
  float total[kRun] = {}, block[kRun] = {};

  __device__ void flush() {
#pragma unroll
    for (int m = 0; m < kRun; ++m) {
      total[m] += block[m];
      block[m] = 0;
    }
  }
  __device__ void slide(prim::Shared<float> tile, int at, int pitch, prim::Shared<float> other, int other_pitch,
                        int rows, int columns) {
    for (int i = 0, k = 0; i < rows; ++i, at += pitch) {
      float window[kRun];  // tile[i][j + m] is in slot (j + m) % kRun
#pragma unroll
      for (int m = 0; m < kRun - 1; ++m) window[m] = tile(at + m);
      for (int first = 0; first < columns; first += kRun) {
#pragma unroll
        for (int j = 0; j < kRun; ++j) {
          if (first + j >= columns) break;
          window[(j + kRun - 1) % kRun] = tile(at + first + j + kRun - 1);
          const float factor = other(i * other_pitch + first + j);
#pragma unroll
          for (int m = 0; m < kRun; ++m) block[m] = fmaf(window[(j + m) % kRun], factor, block[m]);
          if (++k % kBlock == 0) flush();
        }
      }
    }
  }
};

// The inputs under a tile of outputs, with their border.
__device__ inline void load_tile(const Arguments<float>& a, const Cut& cut, prim::Shared<float> tile, int64_t n,
                                 int depth, int64_t group, int first_y, int first_x) {
  const Axis* axis = a.p.axis;
  const int64_t z = conv::border(depth * axis[0].stride - axis[0].lo, axis[0].in, a.p.mode);
  const float* x = a.x + n * a.xs.n + group * a.xs.c + z * a.xs.axis[0];
  for (int i = int(threadIdx.x); i < cut.rows * cut.columns; i += kThreads) {
    const int row = i / cut.columns, column = i - row * cut.columns;
    const int64_t from_y = conv::border(first_y + row - axis[1].lo, axis[1].in, a.p.mode);
    const int64_t from_x = conv::border(first_x + column - axis[2].lo, axis[2].in, a.p.mode);
    const bool inside = z >= 0 && from_y >= 0 && from_x >= 0;
    tile(row * cut.pitch + column) = inside ? x[from_y * a.xs.axis[1] + from_x * a.xs.axis[2]] : 0.0f;
  }
}

// The order of the sum, and so its bits, are those of implicit_gemm.
__global__ void __launch_bounds__(kThreads) forward(Arguments<float> a, Cut cut) {
  const int taps_y = int(a.p.axis[1].taps), taps_x = int(a.p.axis[2].taps), t = int(threadIdx.x);
  const auto tile = prim::dynamic_shared<float>(0, cut.rows * cut.pitch);
  const auto weights = prim::dynamic_shared<float>(unsigned(cut.rows * cut.pitch * sizeof(float)), taps_y * taps_x);
  const int tiles = cut.across * cut.down, tile_index = int(blockIdx.x) % tiles;
  const int64_t channels = a.p.groups * a.p.co, plane = blockIdx.x / tiles, channel = plane % channels;
  const int first_x = tile_index % cut.across * kSide, first_y = tile_index / cut.across * kSide;
  const int64_t n = plane / channels / a.p.axis[0].out, g = channel / a.p.co;
  Pixel at;
  at.n = int(n);
  at.o[0] = int(plane / channels % a.p.axis[0].out);
  load_tile(a, cut, tile, n, at.o[0], g, first_y, first_x);
  for (int i = t; i < taps_y * taps_x; i += kThreads)
    weights(i) = a.weight[g * a.weight_group + i * a.weight_row + channel % a.p.co];
  __syncthreads();

  const int own_x = t % kAcross * kRun, own_y = t / kAcross;
  Sums sums;
  sums.slide(tile, own_y * cut.pitch + own_x, cut.pitch, weights, taps_x, taps_y, taps_x);
  at.o[1] = first_y + own_y;
  if (at.o[1] >= int(a.p.axis[1].out)) return;
#pragma unroll
  for (int m = 0; m < kRun; ++m) {
    at.o[2] = first_x + own_x + m;
    if (at.o[2] < int(a.p.axis[2].out)) finish(a, at, channel, sums.total[m] + sums.block[m]);
  }
}

// Taps and outputs change places: a thread sums 8 adjacent taps over all outputs of a tile, lanes down a column of
// taps. Grid: channels, parts; a part takes so many tiles of planes, one after the other.
__global__ void __launch_bounds__(kThreads) grad_weight(Arguments<float> a, Cut cut, int64_t each, float* parts) {
  const int taps_y = int(a.p.axis[1].taps), taps_x = int(a.p.axis[2].taps), t = int(threadIdx.x);
  const auto tile = prim::dynamic_shared<float>(0, cut.rows * cut.pitch);
  const auto grad = prim::dynamic_shared<float>(unsigned(cut.rows * cut.pitch * sizeof(float)), kSide * kSide);
  const int tiles = cut.across * cut.down, runs = taps_y * ((taps_x + kRun - 1) / kRun);
  const int64_t channel = blockIdx.x, g = channel / a.p.co;
  const int64_t all = a.p.batch * a.p.axis[0].out * tiles, begin = blockIdx.y * each;
  const int64_t end = begin + each < all ? begin + each : all;
  Sums sums[kMostRuns];
  for (int64_t i = begin; i < end; ++i) {
    const int tile_index = int(i % tiles);
    const int first_x = tile_index % cut.across * kSide, first_y = tile_index / cut.across * kSide;
    const int rows = min(kSide, int(a.p.axis[1].out) - first_y), columns = min(kSide, int(a.p.axis[2].out) - first_x);
    Pixel at;
    at.n = int(i / tiles / a.p.axis[0].out);
    at.o[0] = int(i / tiles % a.p.axis[0].out);
    __syncthreads();
    load_tile(a, cut, tile, at.n, at.o[0], g, first_y, first_x);
    for (int e = t; e < rows * columns; e += kThreads) {
      at.o[1] = first_y + e / columns;
      at.o[2] = first_x + e % columns;
      grad(e / columns * kSide + e % columns) = a.y[offset_of(a.ys, at) + channel * a.ys.c];
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < kMostRuns; ++r) {
      const int run = t + r * kThreads;
      if (run >= runs) continue;
      sums[r].slide(tile, run % taps_y * cut.pitch + run / taps_y * kRun, cut.pitch, grad, kSide, rows, columns);
      sums[r].flush();
    }
  }
#pragma unroll
  for (int r = 0; r < kMostRuns; ++r) {
    const int run = t + r * kThreads;
    if (run >= runs) continue;
#pragma unroll
    for (int m = 0; m < kRun; ++m) {
      const int ky = run % taps_y, kx = run / taps_y * kRun + m;
      if (kx < taps_x)
        parts[((blockIdx.y * a.p.groups + g) * a.p.k() + ky * taps_x + kx) * a.p.co + channel % a.p.co] =
            sums[r].total[m];
    }
  }
}

// Parts of the planes' tiles, and how many tiles each takes: enough for 512 blocks, a large GPU some four times over.
struct Planes {
  int64_t parts, each;
};
Planes planes_of(const Problem& p) {
  constexpr int64_t kBlocksWished = 512, kMostParts = 64;
  const Cut cut = cut_of(p);
  const int64_t all = p.batch * p.axis[0].out * cut.across * cut.down, channels = p.groups * p.co;
  const int64_t wished = (kBlocksWished + channels - 1) / channels, most = wished < kMostParts ? wished : kMostParts;
  const int64_t each = all > most ? (all + most - 1) / most : 1;
  return {all > 0 ? (all + each - 1) / each : 1, each};
}

int64_t blocks_of(const Problem& p) {
  const Cut cut = cut_of(p);
  return int64_t(cut.across) * cut.down * p.groups * p.co * p.batch * p.axis[0].out;
}

void decline(const DeviceAsk* ask, DeviceMessage* message) {
  const Problem& p = *ask->problem;
  if (ask->float64) return say(message, "float64 runs on the reference alone");
  if (p.ci != 1) return say(message, "needs one input channel per group");
  for (int i = 1; i < kAxes; ++i)
    if (p.axis[i].taps < kFewest || p.axis[i].taps > kMost || p.axis[i].stride != 1 || p.axis[i].dilation != 1)
      return say(message, "needs two axes with 7 to 64 taps, stride 1 and dilation 1");
  if (p.axis[0].taps != 1) return say(message, "needs one tap along the depth");
  decline_large(p, message);
  if (!message->text[0] && blocks_of(p) >= int64_t{1} << 30) say(message, "has more than 2^30 tiles");
}

// Not measured: a guess of 12 Tflop/s on full tiles, for two loads from shared memory to 8 multiply-adds.
double cost(const DeviceAsk* ask) {
  const Problem& p = *ask->problem;
  return 5e-6 + 2.0 * double(blocks_of(p)) * kSide * kSide * double(p.k()) / 12e12;
}

}  // namespace

const DeviceAlgorithm kDepthwiseLarge = {
    "depthwise_large",
    "7 to 64 taps along both axes: tiles of a plane in shared memory, 8 adjacent outputs a thread",
    decline,
    [](const DeviceAsk* ask) {
      return ask->grad_weight ? parts_bytes(*ask->problem, {planes_of(*ask->problem).parts, 0}) : 0;
    },
    packed_bytes,
    cost,
    pack_weights,
    [](const DeviceCall* call, DeviceMessage* message) {
      return prim::guarded(message, [&] {
        const prim::On device(call->device);
        const Problem& p = *call->problem;
        const Cut cut = cut_of(p);
        prim::launch(forward, {unsigned(blocks_of(p)), 1, 1}, kThreads,
                     (size_t(cut.rows) * size_t(cut.pitch) + size_t(p.k())) * sizeof(float), call->stream,
                     Arguments<float>(*call), cut);
      });
    },
    [](const DeviceCall* call, DeviceMessage* message) {
      return prim::guarded(message, [&] {
        const prim::On device(call->device);
        const Problem& p = *call->problem;
        const Cut cut = cut_of(p);
        const Planes planes = planes_of(p);
        prim::launch(grad_weight, {unsigned(p.groups * p.co), unsigned(planes.parts), 1}, kThreads,
                     (size_t(cut.rows) * size_t(cut.pitch) + kSide * kSide) * sizeof(float), call->stream,
                     Arguments<float>(*call), cut, planes.each, static_cast<float*>(call->workspace));
        add_parts(*call, {planes.parts, 0});
      });
    },
};

}  // namespace omniconv::cuda
