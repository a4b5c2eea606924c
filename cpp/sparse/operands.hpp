// sparse/operands.hpp -- checked arrays of a sparse operation, rows contiguous
#pragma once

#include <string>

#include "core/workspace.hpp"
#include "omniconv/sparse.hpp"

namespace omniconv::sparse {

// Error(invalid_argument) unless `view` has these sizes; the message names the argument.
void require_shape(const TensorView& view, const char* argument, std::initializer_list<int64_t> shape);
void require_dtype(const TensorView& view, const char* argument, DType dtype);

// Memory of rows whose channels are adjacent: the array's own, or a copy.
class Rows {
 public:
  explicit Rows(const TensorView& view);
  const float* data() const { return data_; }
  int64_t step() const { return step_; }

 private:
  const float* data_;
  int64_t step_;
  AlignedBuffer copy_;
};

// Sizes of a convolution that are known once its arrays have been checked.
struct Sizes {
  int64_t groups, in_channels, out_channels;  // channels of a group
};
Sizes check_operands(const SparseMap& map, const TensorView& x, const TensorView& weight, int64_t groups,
                     const TensorView& y, const char* weight_name, const char* y_name);

}  // namespace omniconv::sparse
