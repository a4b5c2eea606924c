// conv/im2win.cu -- float32 convolution whose windows are formed in shared memory, for few input channels
//
// A block computes kPixels outputs of one row times kChannels channels. All input under them goes to shared memory
// once, in the order of im2win and with its border resolved; from there each element is read by every window that holds
// it. An implicit GEMM fetches it from global memory, and asks about the border, once for each of these windows: 49
// times in a 7x7 layer of stride 1.
//
// 128 threads, each with 8 pixels x 4 channels. A warp reads 2 windows, so all of its loads of input are broadcasts,
// and 64 adjacent weights, 16 bytes a lane: for 32 multiply-adds 9 loads.
#include "conv/im2win.cuh"
#include "conv/tables.cuh"

namespace omniconv::cuda {
namespace {

constexpr int kPixels = 64, kChannels = 64, kThreads = 128, kDepth = 32;
constexpr int kThreadPixels = 8, kThreadChannels = 4, kAcross = kChannels / kThreadChannels;
constexpr int64_t kMostBytes = 40 * 1024;  // of windows; with the weights' 8 KB what a launch gets without asking
static_assert(kBlock % kDepth == 0 && kThreads * kThreadPixels * kThreadChannels == kPixels * kChannels);

struct Cut {
  int segments, channel_tiles;  // of a row, of a group
  int tile;                     // elements of windows in shared memory
};

__global__ void __launch_bounds__(kThreads) forward(Arguments<float> a, Windows w, Cut cut) {
  OMNICONV_SHARED(float, weights, kDepth* kChannels);
  const auto windows = prim::dynamic_shared<float>(0, cut.tile);
  const int t = int(threadIdx.x), block_index = int(blockIdx.x);
  const int column = block_index % cut.channel_tiles * kChannels, place = block_index / cut.channel_tiles;
  const int64_t group = place % int(a.p.groups);
  const int segment = place / int(a.p.groups) % cut.segments, row = place / int(a.p.groups) / cut.segments;
  const int first = segment * kPixels, width = int(a.by_width.divisor), terms = int(a.p.k());
  Pixel at = pixel_of(a, row * width);
  const int first_column = first * int(a.p.axis[2].stride);
  for (int i = t; i < cut.tile; i += kThreads) windows(i) = window_element(a, w, at, group, first_column, i);

  const int own_channel = t % kAcross * kThreadChannels, own_pixel = t / kAcross;
  const float* from = a.weight + group * a.weight_group + column;
  float total[kThreadPixels][kThreadChannels] = {}, block[kThreadPixels][kThreadChannels] = {};
  int run = 0, rest = 0;
  for (int k = 0; k < terms; k += kDepth) {
    __syncthreads();
    const int depth = min(kDepth, terms - k);
    for (int i = t; i < depth * kChannels; i += kThreads) {
      const int channel = i % kChannels;
      weights(i) = column + channel < int(a.weight_row) ? from[(k + i / kChannels) * a.weight_row + channel] : 0.0f;
    }
    __syncthreads();
    for (int i = 0; i < depth; ++i) {
      const float4 y = weights.load4(i * kChannels + own_channel);
#pragma unroll
      for (int m = 0; m < kThreadPixels; ++m) {
        const float x = windows((own_pixel + m * (kPixels / kThreadPixels)) * w.step + run + rest);
#pragma unroll
        for (int j = 0; j < kThreadChannels; ++j) block[m][j] = fmaf(x, prim::component(y, j), block[m][j]);
      }
      if (++rest == w.column) {
        rest = 0;
        run += w.run;
      }
    }
    if ((k + kDepth) % kBlock == 0) {
#pragma unroll
      for (int m = 0; m < kThreadPixels; ++m)
#pragma unroll
        for (int j = 0; j < kThreadChannels; ++j) {
          total[m][j] += block[m][j];
          block[m][j] = 0;
        }
    }
  }
#pragma unroll
  for (int m = 0; m < kThreadPixels; ++m) {
    at.o[2] = first + own_pixel + m * (kPixels / kThreadPixels);
    if (at.o[2] >= width) continue;
#pragma unroll
    for (int j = 0; j < kThreadChannels; ++j) {
      const int channel = column + own_channel + j;
      if (channel < int(a.p.co)) finish(a, at, group * a.p.co + channel, total[m][j] + block[m][j]);
    }
  }
}

int64_t tile_elements(const Problem& p) {
  const int64_t columns = (kPixels - 1) * p.axis[2].stride + p.axis[2].window();
  return columns * p.axis[0].taps * p.axis[1].taps * p.ci;
}
int64_t segments_of(const Problem& p) { return (p.axis[2].out + kPixels - 1) / kPixels; }
int64_t tiles_of(const Problem& p) { return (p.co + kChannels - 1) / kChannels; }
int64_t blocks_of(const Problem& p) { return p.rows() * segments_of(p) * p.groups * tiles_of(p); }

void decline(const DeviceAsk* ask, DeviceMessage* message) {
  const Problem& p = *ask->problem;
  decline_windows(ask, message);
  if (message->text[0]) return;
  if (tile_elements(p) * 4 > kMostBytes)
    return say(message, "the input under 64 outputs of a row has more than 40 KB: too many channels or taps");
  if (blocks_of(p) >= int64_t{1} << 30) say(message, "has more than 2^30 tiles");
}

// Not measured: a guess of 30 Tflop/s on full tiles.
double cost(const DeviceAsk* ask) {
  const Problem& p = *ask->problem;
  return 5e-6 + 2.0 * double(blocks_of(p)) * kPixels * kChannels * double(p.k()) / 30e12;
}

}  // namespace

const DeviceAlgorithm kIm2win = {
    "im2win",
    "windows formed in shared memory, each input element fetched and its border resolved once; for few channels",
    decline,
    [](const DeviceAsk*) { return size_t{0}; },
    packed_bytes,
    cost,
    pack_in_windows,
    [](const DeviceCall* call, DeviceMessage* message) {
      return prim::guarded(message, [&] {
        const prim::On device(call->device);
        const Problem& p = *call->problem;
        const Cut cut = {int(segments_of(p)), int(tiles_of(p)), int(tile_elements(p))};
        prim::launch(forward, {unsigned(blocks_of(p)), 1, 1}, kThreads, size_t(cut.tile) * sizeof(float), call->stream,
                     Arguments<float>(*call), Windows(p), cut);
      });
    },
    [](const DeviceCall*, DeviceMessage* message) {
      say(message, "im2win has no gradient of the weights");
      return kDeviceError;
    },
};

}  // namespace omniconv::cuda
