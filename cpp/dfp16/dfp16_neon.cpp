// dfp16/dfp16_neon.cpp -- the integer kernels, NEON
#include "dfp16/convert.inl.hpp"

namespace omniconv::dfp16::neon {

const Kernels& dfp16_kernels() {
  static const Kernels table = make_kernels<8>();
  return table;
}

}  // namespace omniconv::dfp16::neon
