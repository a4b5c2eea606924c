// sparse/sparse_neon.cpp -- the sparse kernels, NEON
#include "sparse/tile.inl.hpp"

namespace omniconv::sparse::neon {

const Kernels& sparse_kernels() {
  static constexpr Kernels table = make_kernels<8, 0>();
  return table;
}

}  // namespace omniconv::sparse::neon
