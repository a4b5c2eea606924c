// dfp16/dfp16_scalar.cpp -- the integer kernels on the baseline, and the matrix unit emulated
#include "dfp16/convert.inl.hpp"
#include "dfp16/tiles.inl.hpp"

namespace omniconv::dfp16 {
namespace scalar {

const Kernels& dfp16_kernels() {
  static const Kernels table = make_kernels<6>();
  return table;
}

}  // namespace scalar

const TileKernels& emulated_tiles() { return scalar::kTileKernels; }

}  // namespace omniconv::dfp16
