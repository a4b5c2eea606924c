// conv/conv_amx.cpp -- the dense kernels of AVX-512, and the products on AMX tiles
#include "conv/split.inl.hpp"

namespace omniconv::conv::amx {

const Kernels& conv_kernels() {
  static const SplitKernels split = {pack<Part>, split_pack_weights, split_configure, split_release, split_multiply};
  static const Kernels table = [] {
    Kernels k = avx512::conv_kernels();
    k.split = &split;
    k.tile_vectors = 2;  // of the panels that split_pack_weights takes
    return k;
  }();
  return table;
}

}  // namespace omniconv::conv::amx
