// conv/kernels.inl.hpp -- fills the kernel table of one ISA; included once by each conv_<isa>.cpp
#pragma once

#include "conv/depthwise.inl.hpp"
#include "conv/finish.inl.hpp"
#include "conv/grouped.inl.hpp"
#include "conv/kernels.hpp"
#include "conv/pack.inl.hpp"
#include "conv/planar.inl.hpp"
#include "conv/tile.inl.hpp"
#include "conv/winograd.inl.hpp"
#include "conv/winograd_2x1.inl.hpp"

namespace omniconv::conv {
namespace OMNICONV_ISA_NS {

template <int VECTORS, int ROWS>
static void fill_tiles(Kernels& k) {
  if constexpr (ROWS > 0) {
    k.tile[VECTORS][ROWS] = tile<ROWS, VECTORS>;
    k.outer[VECTORS][ROWS] = outer<ROWS, VECTORS>;
    fill_tiles<VECTORS, ROWS - 1>(k);
  }
}

template <int VECTORS, int ROWS, int... WIDER>
static void fill_widths(Kernels& k) {
  static_assert(ROWS <= kMaxTileRows && VECTORS <= kMaxTileVectors);
  k.tile_vectors = VECTORS;
  k.tile_rows[VECTORS] = ROWS;
  fill_tiles<VECTORS, ROWS>(k);
  if constexpr (sizeof...(WIDER) > 0) fill_widths<VECTORS + 1, WIDER...>(k);
}

// ROWS: of the tallest tile of 1, 2 ... vectors.
template <int... ROWS>
static Kernels make_kernels(double flops_per_cycle) {
  Kernels k{};
  k.lanes = kWidth;
  fill_widths<1, ROWS...>(k);
  k.pack = pack<float>;
  k.finish = finish;
  k.peak = flops_per_cycle;
  fill_winograd<0>(k.winograd);
  k.planar = planar_kernels();
  k.depthwise = depthwise_kernels();
  k.group = group_kernels();
  k.row_pair = row_pair_kernels();
  return k;
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::conv
