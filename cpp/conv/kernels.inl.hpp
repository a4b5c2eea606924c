// conv/kernels.inl.hpp -- fills the kernel table of one ISA; included once by each conv_<isa>.cpp
#pragma once

#include "conv/depthwise.inl.hpp"
#include "conv/finish.inl.hpp"
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

template <int ROWS>
static Kernels make_kernels(double flops_per_cycle) {
  static_assert(ROWS <= kMaxTileRows);
  Kernels k{};
  k.lanes = kWidth;
  k.tile_rows = ROWS;
  k.tile_vectors = 2;
  fill_tiles<1, ROWS>(k);
  fill_tiles<2, ROWS>(k);
  k.pack = pack<float>;
  k.finish = finish;
  k.peak = flops_per_cycle;
  fill_winograd<0>(k.winograd);
  k.planar = planar_kernels();
  k.depthwise = depthwise_kernels();
  k.row_pair = row_pair_kernels();
  return k;
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv::conv
