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
constexpr int kFewest = 7, kMost = 64;  // taps along either axis

struct Cut {
  int across, down;  // tiles
  int rows, columns, pitch;
};

Cut cut_of(const Problem& p) {
  const int columns = kSide - 1 + int(p.axis[2].taps);
  return {int((p.axis[2].out + kSide - 1) / kSide), int((p.axis[1].out + kSide - 1) / kSide),
          kSide - 1 + int(p.axis[1].taps), columns, (columns + 30) / 32 * 32 + 1};
}

// The order of the sum, and so its bits, are those of implicit_gemm.
__global__ void __launch_bounds__(kThreads) forward(Arguments<float> a, Cut cut) {
  const int taps_y = int(a.p.axis[1].taps), taps_x = int(a.p.axis[2].taps), t = int(threadIdx.x);
  const auto tile = prim::dynamic_shared<float>(0, cut.rows * cut.pitch);
  const auto weights = prim::dynamic_shared<float>(unsigned(cut.rows * cut.pitch * sizeof(float)), taps_y * taps_x);
  const int tiles = cut.across * cut.down, tile_index = int(blockIdx.x) % tiles;
  const int64_t channels = a.p.groups * a.p.co, plane = blockIdx.x / tiles, channel = plane % channels;
  const int first_x = tile_index % cut.across * kSide, first_y = tile_index / cut.across * kSide;
  const int depth = int(plane / channels % a.p.axis[0].out);
  const int64_t n = plane / channels / a.p.axis[0].out, g = channel / a.p.co;

  const Axis* axis = a.p.axis;
  const int64_t z = conv::border(depth * axis[0].stride - axis[0].lo, axis[0].in, a.p.mode);
  const float* x = a.x + n * a.xs.n + g * a.xs.c + z * a.xs.axis[0];
  for (int i = t; i < cut.rows * cut.columns; i += kThreads) {
    const int row = i / cut.columns, column = i - row * cut.columns;
    const int64_t from_y = conv::border(first_y + row - axis[1].lo, axis[1].in, a.p.mode);
    const int64_t from_x = conv::border(first_x + column - axis[2].lo, axis[2].in, a.p.mode);
    const bool inside = z >= 0 && from_y >= 0 && from_x >= 0;
    tile(row * cut.pitch + column) = inside ? x[from_y * a.xs.axis[1] + from_x * a.xs.axis[2]] : 0.0f;
  }
  for (int i = t; i < taps_y * taps_x; i += kThreads)
    weights(i) = a.weight[g * a.weight_group + i * a.weight_row + channel % a.p.co];
  __syncthreads();

  const int own_x = t % kAcross * kRun, own_y = t / kAcross;
  float total[kRun] = {}, block[kRun] = {};
  for (int i = 0, k = 0; i < taps_y; ++i) {
    const int at = (own_y + i) * cut.pitch + own_x;
    float window[kRun];  // inputs of the outputs at this tap, from slot j % kRun on
#pragma unroll
    for (int m = 0; m < kRun - 1; ++m) window[m] = tile(at + m);
    for (int first = 0; first < taps_x; first += kRun) {
#pragma unroll
      for (int j = 0; j < kRun; ++j) {
        if (first + j >= taps_x) break;
        window[(j + kRun - 1) % kRun] = tile(at + first + j + kRun - 1);
        const float weight = weights(k);
#pragma unroll
        for (int m = 0; m < kRun; ++m) block[m] = fmaf(window[(j + m) % kRun], weight, block[m]);
        if (++k % kBlock == 0) {
#pragma unroll
          for (int m = 0; m < kRun; ++m) {
            total[m] += block[m];
            block[m] = 0;
          }
        }
      }
    }
  }
  Pixel pixel;
  pixel.n = int(n);
  pixel.o[0] = depth;
  pixel.o[1] = first_y + own_y;
  if (pixel.o[1] >= int(axis[1].out)) return;
#pragma unroll
  for (int m = 0; m < kRun; ++m) {
    pixel.o[2] = first_x + own_x + m;
    if (pixel.o[2] < int(axis[2].out)) finish(a, pixel, channel, total[m] + block[m]);
  }
}

int64_t blocks_of(const Problem& p) {
  const Cut cut = cut_of(p);
  return int64_t(cut.across) * cut.down * p.groups * p.co * p.batch * p.axis[0].out;
}

void decline(const DeviceAsk* ask, DeviceMessage* message) {
  const Problem& p = *ask->problem;
  if (ask->float64) return say(message, "float64 runs on the reference alone");
  if (ask->grad_weight)
    return say(message, "has no gradient of the weights; that of depthwise takes any number of taps");
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
    [](const DeviceAsk*) { return size_t{0}; },
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
    [](const DeviceCall*, DeviceMessage* message) {
      say(message, "depthwise_large has no gradient of the weights");
      return kDeviceError;
    },
};

}  // namespace omniconv::cuda
