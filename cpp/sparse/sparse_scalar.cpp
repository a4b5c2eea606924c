// sparse/sparse_scalar.cpp -- the sparse kernels, baseline
#include "sparse/tile.inl.hpp"

namespace omniconv::sparse::scalar {

const Kernels& sparse_kernels() {
  static constexpr Kernels table = make_kernels<4, 0>();
  return table;
}

}  // namespace omniconv::sparse::scalar
