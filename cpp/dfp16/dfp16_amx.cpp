// dfp16/dfp16_amx.cpp -- the integer kernels, AVX-512 with AMX tiles
#include "dfp16/convert.inl.hpp"
#include "dfp16/tiles.inl.hpp"

namespace omniconv::dfp16::amx {

const Kernels& dfp16_kernels() {
  static const Kernels table = [] {
    Kernels k = make_kernels<12>();
    k.tiles = &kTileKernels;
    return k;
  }();
  return table;
}

}  // namespace omniconv::dfp16::amx
