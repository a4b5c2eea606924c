// sparse/sparse_avx512.cpp -- the sparse kernels, AVX-512
#include "sparse/tile.inl.hpp"

namespace omniconv::sparse::avx512 {

const Kernels& sparse_kernels() {
  static constexpr Kernels table = make_kernels<14, 6>();
  return table;
}

}  // namespace omniconv::sparse::avx512
