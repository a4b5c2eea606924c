// sparse/convolve.cpp -- forward: a tile of outputs stays in cache while the taps pass
//
// A task is a tile of 512 outputs times 64 columns: 128 KiB of sums. Under each tap the rows that have a partner there
// are multiplied six or so at a time, so no work is spent on absent pairs, nothing is gathered to memory, and one
// thread owns an output from its first tap to its epilogue.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "conv/kernels.hpp"
#include "core/thread_pool.hpp"
#include "reference/sparse.hpp"
#include "sparse/kernels.hpp"
#include "sparse/operands.hpp"

namespace omniconv {
namespace sparse {
namespace {

constexpr int64_t kColumns = 64;
constexpr int64_t kBlock = 256;  // terms of a chain: bounds the rounding of long sums, and 16 KiB of weights fit L1

// Weights of one group as the tiles read them: [column panel][tap][Ci][panel lanes], the last panel as narrow as can
// be.
class Packed {
 public:
  Packed(const TensorView& w, const Sizes& s, int64_t group, const Kernels& kernel)
      : lanes_(kernel.lanes), panel_(kernel.panel), in_(s.in_channels) {
    const int lanes = kernel.lanes;
    taps_ = w.shape[2];
    vectors_ = (s.out_channels + lanes - 1) / lanes;
    buffer_ = AlignedBuffer(size_t(taps_ * in_ * vectors_ * lanes) * sizeof(float));
    const float* from = static_cast<const float*>(w.data) + group * s.out_channels * w.strides[0];
    parallel_for(taps_, [&](int64_t tap, int) {
      for (int64_t v = 0; v < vectors_; v += panel_) {
        const int64_t width = std::min<int64_t>(panel_, vectors_ - v) * lanes;
        float* to = const_cast<float*>(panel(v, tap));
        for (int64_t k = 0; k < in_; ++k)
          for (int64_t j = 0; j < width; ++j) {
            const int64_t o = v * lanes + j;
            *to++ = o < s.out_channels ? from[o * w.strides[0] + k * w.strides[1] + tap * w.strides[2]] : 0.0f;
          }
      }
    });
  }
  int64_t vectors() const { return vectors_; }
  // Of the panel that begins with vector v, a multiple of the kernel's panel.
  const float* panel(int64_t v, int64_t tap) const {
    const int64_t width = std::min<int64_t>(panel_, vectors_ - v) * lanes_;
    return static_cast<const float*>(buffer_.data()) + (v * lanes_ * taps_ + tap * width) * in_;
  }

 private:
  int lanes_, panel_;
  int64_t in_, taps_, vectors_;
  AlignedBuffer buffer_;
};

struct Work {
  const SparseMap& map;
  const Kernels& kernel;
  const Packed& weights;
  const float* x;
  int64_t x_step, in_channels;
  conv::FinishArgs finish;  // of row 0 and channel 0 of the group
  int64_t out_channels;
};

void multiply_taps(const Work& w, const SparseMap::Tile& tile, int64_t v0, int64_t v1, float* sums) {
  const int lanes = w.kernel.lanes;
  const float* a[SparseMap::kTile];
  float* c[SparseMap::kTile];
  for (int64_t tap = 0; tap < w.map.taps(); ++tap) {
    const int32_t begin = tile.begin[size_t(tap)], pairs = tile.begin[size_t(tap) + 1] - begin;
    if (pairs == 0) continue;
    for (int32_t p = 0; p < pairs; ++p) {
      const SparseMap::Pair pair = tile.pairs[size_t(begin + p)];
      a[p] = w.x + pair.in * w.x_step;
      c[p] = sums + pair.out * (v1 - v0) * lanes;
    }
    for (int64_t k = 0; k < w.in_channels; k += kBlock) {
      const int64_t count = std::min(kBlock, w.in_channels - k);
      for (int64_t v = v0; v < v1; v += w.kernel.panel) {
        const int64_t width = std::min<int64_t>(w.kernel.panel, w.weights.vectors() - v);
        const float* b = w.weights.panel(v, tap) + k * width * lanes;
        w.kernel.tile[width]({a, c, pairs, (v - v0) * lanes, b, count});
      }
      for (int32_t p = 0; p < pairs; ++p) a[p] += count;
    }
  }
}

void finish_rows(const Work& w, int64_t tile, int64_t sites, int64_t v0, int64_t v1, const float* sums) {
  const int64_t first = v0 * w.kernel.lanes, width = (v1 - v0) * w.kernel.lanes;
  conv::FinishArgs f = w.finish;
  f.panel = width;
  f.pixels = 1;
  f.channels = std::min(width, w.out_channels - first);
  if (f.bias) f.bias += first;
  if (f.scale) f.scale += first;
  const auto run = conv::kernels().finish;
  for (int64_t i = 0; i < sites; ++i) {
    const int64_t row = w.map.out_row(tile, int32_t(i));
    f.c = sums + i * width;
    f.y = w.finish.y + row * w.finish.y_pixel + first * w.finish.y_channel;
    if (f.residual) f.residual = w.finish.residual + row * w.finish.r_pixel + first * w.finish.r_channel;
    run(f);
  }
}

void convolve_group(const Work& w) {
  const int lanes = w.kernel.lanes;
  const int64_t step = kColumns / lanes, blocks = (w.weights.vectors() + step - 1) / step;
  const int64_t tiles = int64_t(w.map.tiles().size());
  parallel_for(tiles * blocks, [&](int64_t task, int) {
    const int64_t tile = task / blocks, v0 = task % blocks * step, v1 = std::min(w.weights.vectors(), v0 + step);
    const int64_t sites = std::min(SparseMap::kTile, w.map.out()->rows() - tile * SparseMap::kTile);
    const size_t bytes = size_t(sites * (v1 - v0) * lanes) * sizeof(float);
    const ScopedWorkspace scratch(bytes);
    float* sums = static_cast<float*>(scratch.data());
    std::memset(sums, 0, bytes);
    multiply_taps(w, w.map.tiles()[size_t(tile)], v0, v1, sums);
    finish_rows(w, tile, sites, v0, v1, sums);
  });
}

}  // namespace
}  // namespace sparse

void sparse_convolve(const SparseMap& map, const TensorView& x, const TensorView& weight, int64_t groups,
                     const SparseEpilogue& e, const TensorView& y) {
  using namespace sparse;
  const Sizes s = check_operands(map, x, weight, groups, y, "weight", "out");
  for (const auto& [view, argument] : {std::pair{&e.bias, "bias"}, std::pair{&e.scale, "scale"}})
    if (view->defined()) require_shape(*view, argument, {weight.shape[0]}), require_dtype(*view, argument, x.dtype);
  if (e.residual.defined()) {
    require_shape(e.residual, "residual", {y.shape[0], y.shape[1]});
    require_dtype(e.residual, "residual", x.dtype);
  }
  if (x.dtype == DType::float64) return reference::sparse_convolve(map, x, weight, groups, e, y);

  const Rows rows(x);
  const auto dense = [](const TensorView& v) {  // the kernels take one step between channels
    AlignedBuffer copy(size_t(v.defined() ? v.shape[0] : 0) * sizeof(float));
    for (int64_t i = 0; v.defined() && i < v.shape[0]; ++i)
      static_cast<float*>(copy.data())[i] = static_cast<const float*>(v.data)[i * v.strides[0]];
    return copy;
  };
  const AlignedBuffer bias = dense(e.bias), scale = dense(e.scale);
  for (int64_t g = 0; g < groups; ++g) {
    const Kernels& kernel = kernels();
    const Packed packed(weight, s, g, kernel);
    const int64_t first = g * s.out_channels;
    conv::FinishArgs f{};
    f.y = static_cast<float*>(y.data) + first * y.strides[1];
    f.y_pixel = y.strides[0], f.y_channel = y.strides[1];
    if (e.residual.defined()) {
      f.residual = static_cast<const float*>(e.residual.data) + first * e.residual.strides[1];
      f.r_pixel = e.residual.strides[0], f.r_channel = e.residual.strides[1];
    }
    f.bias = e.bias.defined() ? static_cast<const float*>(bias.data()) + first : nullptr;
    f.scale = e.scale.defined() ? static_cast<const float*>(scale.data()) + first : nullptr;
    f.activation = e.activation;
    f.negative_slope = e.negative_slope;
    convolve_group(
        {map, kernel, packed, rows.data() + g * s.in_channels, rows.step(), s.in_channels, f, s.out_channels});
  }
}

}  // namespace omniconv
