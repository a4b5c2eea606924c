// sparse/sparse_avx2.cpp -- the sparse kernels, AVX2+FMA
#include "sparse/tile.inl.hpp"

namespace omniconv::sparse::avx2 {

const Kernels& sparse_kernels() {
  static constexpr Kernels table = make_kernels<6, 0>();
  return table;
}

}  // namespace omniconv::sparse::avx2
