// sparse/operands.cpp -- checks of shapes and types; rows made contiguous; the kernels of the current ISA
#include "sparse/operands.hpp"

#include "omniconv/context.hpp"
#include "sparse/kernels.hpp"

namespace omniconv::sparse {

const Kernels& kernels() {
  switch (current_isa()) {
#ifdef OMNICONV_WITH_AVX512
    case Isa::amx:
    case Isa::avx512vnni:
    case Isa::avx512: return avx512::sparse_kernels();
#endif
#ifdef OMNICONV_WITH_AVX2
    case Isa::avx2: return avx2::sparse_kernels();
#endif
#ifdef OMNICONV_WITH_NEON
    case Isa::neon: return neon::sparse_kernels();
#endif
    default: return scalar::sparse_kernels();
  }
}

void require_shape(const TensorView& view, const char* argument, std::initializer_list<int64_t> shape) {
  bool same = view.ndim == int(shape.size());
  for (int i = 0; same && i < view.ndim; ++i) same = view.shape[size_t(i)] == shape.begin()[i];
  if (!same)
    throw Error(Code::invalid_argument, std::string(argument) + " has shape " +
                                            shape_string(view.shape.data(), view.ndim) + "; expected is " +
                                            shape_string(shape.begin(), int(shape.size())));
}

void require_dtype(const TensorView& view, const char* argument, DType dtype) {
  if (view.dtype != dtype)
    throw Error(Code::type_error, std::string(argument) + " is " + name(view.dtype) + ", and the features are " +
                                      name(dtype) + "; they must be the same");
}

Rows::Rows(const TensorView& view) : data_(static_cast<const float*>(view.data)), step_(view.strides[0]) {
  const int64_t rows = view.shape[0], columns = view.shape[1];
  if (view.strides[1] == 1 || columns == 1) return;
  copy_ = AlignedBuffer(size_t(rows * columns) * sizeof(float));
  float* to = static_cast<float*>(copy_.data());
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t c = 0; c < columns; ++c) to[i * columns + c] = data_[i * view.strides[0] + c * view.strides[1]];
  data_ = to;
  step_ = columns;
}

Sizes check_operands(const SparseMap& map, const TensorView& x, const TensorView& weight, int64_t groups,
                     const TensorView& y, const char* weight_name, const char* y_name) {
  const auto fail = [](const std::string& message) { throw Error(Code::invalid_argument, message); };
  if (weight.ndim != 3)
    fail(std::string(weight_name) + " has " + std::to_string(weight.ndim) +
         " axes; expected are output channels, input channels, taps");
  const int64_t out = weight.shape[0], in = weight.shape[1];
  if (groups < 1 || out % groups != 0 || out == 0 || in == 0)
    fail("groups is " + std::to_string(groups) + ", which does not divide " + std::to_string(out) +
         " output channels, or there are no channels");
  if (weight.shape[2] != map.taps())
    fail(std::string(weight_name) + " has " + std::to_string(weight.shape[2]) + " taps, and the plan has " +
         std::to_string(map.taps()));
  require_shape(x, "features", {map.in()->rows(), in * groups});
  require_shape(y, y_name, {map.out()->rows(), out});
  require_dtype(weight, weight_name, x.dtype);
  require_dtype(y, y_name, x.dtype);
  return {groups, in, out / groups};
}

}  // namespace omniconv::sparse
