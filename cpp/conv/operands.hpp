// conv/operands.hpp -- the arrays of one run: checks, strides, and the passes around the phases of grad_input
#pragma once

#include <span>
#include <vector>

#include "conv/problem.hpp"

namespace omniconv::conv {

// Throws Error naming the operand that does not fit the description, or that overlaps the output.
// `y_shape`: conv_output_shape(desc). Allocates nothing but an error's message.
void check_operands(const ConvDesc& desc, std::span<const int64_t> y_shape, const ConvOperands& o, bool packed);
void check_shape(const char* name, const TensorView& v, DType dtype, std::span<const int64_t> shape);
void check_device(const char* name, const TensorView& v, Device device);
void check_apart(const TensorView& out, const char* name, const TensorView& in);
void check_weight(const ConvDesc& desc, const TensorView& weight);

Strides strides_of(const TensorView& view);
Strides dense_strides(int64_t channels, const Axis (&axis)[kAxes]);  // of the inputs of `axis`
TensorView dense_view(void* data, DType dtype, const std::vector<int64_t>& shape);
std::vector<char> dense_copy(const TensorView& view);

// The elements of a 1-D view: in place where contiguous, else copied to `room`. Null for an undefined view.
template <class T>
const T* dense_vector(const TensorView& view, T* room) {
  if (!view.defined()) return nullptr;
  const T* from = static_cast<const T*>(view.data);
  if (view.strides[0] == 1 || view.shape[0] == 1) return from;
  for (int64_t i = 0; i < view.shape[0]; ++i) room[i] = from[i * view.strides[0]];
  return room;
}

// y = epilogue of a sum of no terms, everywhere.
void fill_epilogue(const Problem& p, const Operands& m, int threads);

// The gradient of the padded input becomes the gradient of the input: each source takes its own element and every
// border element that was copied from it, in a fixed order; then the epilogue of `m`.
void fold_border(const Problem& p, const Problem& padded, const float* grad, const Strides& gs, const Operands& m,
                 int threads);

}  // namespace omniconv::conv
