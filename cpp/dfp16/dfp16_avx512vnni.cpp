// dfp16/dfp16_avx512vnni.cpp -- the integer kernels, AVX-512 with VNNI
#include "dfp16/convert.inl.hpp"

namespace omniconv::dfp16::avx512vnni {

const Kernels& dfp16_kernels() {
  static const Kernels table = make_kernels<12>();
  return table;
}

}  // namespace omniconv::dfp16::avx512vnni
