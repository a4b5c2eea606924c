// dfp16/dfp16_avx2.cpp -- the integer kernels, AVX2
#include "dfp16/convert.inl.hpp"

namespace omniconv::dfp16::avx2 {

const Kernels& dfp16_kernels() {
  static const Kernels table = make_kernels<6>();
  return table;
}

}  // namespace omniconv::dfp16::avx2
