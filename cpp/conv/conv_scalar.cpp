// conv/conv_scalar.cpp -- the dense kernels, 128-bit vectors of the compiler's choice: what every machine has
#include "conv/kernels.inl.hpp"

namespace omniconv::conv::scalar {

const Kernels& conv_kernels() {
  static const Kernels table =
      make_kernels<6, 6>(8);  // 6 x 2 + 2 + 1 of 16 registers; a multiply and an add of 4 lanes a cycle
  return table;
}

}  // namespace omniconv::conv::scalar
