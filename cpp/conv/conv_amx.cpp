// conv/conv_amx.cpp -- the dense kernels, AVX-512 with AMX tiles
#include "conv/kernels.inl.hpp"
#include "conv/split.inl.hpp"

namespace omniconv::conv::amx {

const Kernels& conv_kernels() {
  static const SplitKernels split = {pack<Part>, split_pack_weights, split_configure, split_release, split_multiply};
  static const Kernels table = [] {
    Kernels k = make_kernels<14>(64);  // as conv_avx512.cpp
    k.split = &split;
    return k;
  }();
  return table;
}

}  // namespace omniconv::conv::amx
