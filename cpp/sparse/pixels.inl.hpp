// sparse/pixels.inl.hpp -- sums over the windows of single pixels, lanes being channels
//
// A tile is any ROWS pixels times VECTORS of channels: its weights are loaded once, and 6 x 2 chains hide the latency
// of an addition.
#pragma once

#include "simd/vec.hpp"
#include "sparse/kernels.hpp"

namespace omniconv::sparse {
namespace OMNICONV_ISA_NS {

using namespace omniconv::OMNICONV_ISA_NS;

template <int ROWS, int VECTORS, bool FULL>
static OMNICONV_INLINE void pixel_tile(const PixelArgs& a, int64_t pixel, int64_t channel, int tail) {
  constexpr int64_t kBlock = 512;  // terms of a chain, as everywhere in dense convolution
  const float* x[ROWS];
  for (int i = 0; i < ROWS; ++i) x[i] = a.pixels[pixel + i] + channel;
  const float* w = a.w + channel;
  for (int64_t first = 0; first < a.taps; first += kBlock) {
    f32 acc[ROWS][VECTORS];
    for (int i = 0; i < ROWS; ++i)
      for (int j = 0; j < VECTORS; ++j) acc[i][j] = zero();
    for (int64_t k = first; k < first + kBlock && k < a.taps; ++k, w += a.w_tap) {
      f32 wk[VECTORS];
      for (int j = 0; j < VECTORS; ++j) wk[j] = load(w + j * kWidth);
      for (int i = 0; i < ROWS; ++i)
        for (int j = 0; j < VECTORS; ++j) acc[i][j] = fma(load(x[i] + a.offsets[k] + j * kWidth), wk[j], acc[i][j]);
    }
    for (int i = 0; i < ROWS; ++i)
      for (int j = 0; j < VECTORS; ++j) {
        float* at = a.to[pixel + i] + channel + j * kWidth;
        if (FULL)
          store(at, first > 0 ? load(at) + acc[i][j] : acc[i][j]);
        else
          store_partial(at, first > 0 ? load_partial(at, tail) + acc[i][j] : acc[i][j], tail);
      }
  }
}

template <int ROWS, int VECTORS, bool FULL>
static OMNICONV_INLINE void pixel_tiles(const PixelArgs& a, int64_t pixel, int64_t channel, int tail) {
  if constexpr (ROWS > 0) {
    for (; pixel + ROWS <= a.count; pixel += ROWS) pixel_tile<ROWS, VECTORS, FULL>(a, pixel, channel, tail);
    pixel_tiles<ROWS / 2, VECTORS, FULL>(a, pixel, channel, tail);
  }
}

static void pixels(const PixelArgs& a) {
  int64_t channel = 0;
  for (; channel + 2 * kWidth <= a.channels; channel += 2 * kWidth) pixel_tiles<6, 2, true>(a, 0, channel, 0);
  for (; channel < a.channels; channel += kWidth) {
    const int64_t left = a.channels - channel;
    pixel_tiles<6, 1, false>(a, 0, channel, int(left < kWidth ? left : kWidth));
  }
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::sparse
