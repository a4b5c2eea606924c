// conv/conv_neon.cpp -- the dense kernels, NEON
#include "conv/kernels.inl.hpp"

namespace omniconv::conv::neon {

const Kernels& conv_kernels() {
  static const Kernels table = make_kernels<12, 12>(
      16);  // 12 x 2 + 2 + 1 of 32 registers; two FMA of 4 lanes a cycle, the least of current cores
  return table;
}

}  // namespace omniconv::conv::neon
