// sparse/c_api.cpp -- the C interface of sparse convolution
#include "core/c_api.hpp"

#include <algorithm>
#include <cstring>

#include "conv/c_api.hpp"
#include "omniconv/conv.hpp"
#include "omniconv/masked.hpp"
#include "omniconv/sparse.hpp"

struct omniconv_sparse_map {
  omniconv::SparseMap map;
};

namespace omniconv::c_api {
namespace {

SharedSites sites_of(const DLTensor* coords) {
  const TensorView c =
      TensorView::from_dlpack(required(coords, "coords"), "coords", On::cpu, TensorView::Types::floats_and_integers);
  if (c.dtype != DType::int32)
    throw Error(Code::type_error, std::string("coords is ") + name(c.dtype) + "; expected is int32");
  if (c.ndim != 2 || c.shape[1] < 2)
    throw Error(Code::invalid_argument,
                "coords has shape " + shape_string(c.shape.data(), c.ndim) + "; expected is (rows, 1 + axes)");
  std::vector<int32_t> dense(size_t(c.shape[0] * c.shape[1]));
  for (int64_t i = 0; i < c.shape[0]; ++i)
    for (int64_t j = 0; j < c.shape[1]; ++j)
      dense[size_t(i * c.shape[1] + j)] = static_cast<const int32_t*>(c.data)[i * c.strides[0] + j * c.strides[1]];
  return std::make_shared<const SparseSites>(dense.data(), c.shape[0], int(c.shape[1]) - 1);
}

SparseWindow window_of(const omniconv_sparse_window& w) {
  SparseWindow window;
  std::copy_n(w.kernel, kMaxSparseDims, window.kernel.begin());
  std::copy_n(w.stride, kMaxSparseDims, window.stride.begin());
  std::copy_n(w.padding, kMaxSparseDims, window.padding.begin());
  std::copy_n(w.dilation, kMaxSparseDims, window.dilation.begin());
  return window;
}

SparseMap map_of(const SharedSites& in, const std::string& mode, const SparseWindow& window) {
  if (mode == "subm") {
    for (int a = 0; a < in->dims(); ++a)
      if (window.stride[size_t(a)] != 1)
        throw Error(Code::invalid_argument,
                    "stride is " + std::to_string(window.stride[size_t(a)]) + "; with mode 'subm' it is 1");
    return SparseMap(in, in, window);
  }
  if (mode == "strided") return SparseMap(in, reached_sites(*in, window, false), window);
  if (mode == "transposed") return SparseMap(reached_sites(*in, window, true), in, window).adjoint();
  throw Error(Code::invalid_argument, "mode is '" + mode + "'; allowed are 'subm', 'strided', 'transposed'");
}

// A dense copy of a mask: views of this library have no bytes.
std::vector<uint8_t> cells_of(const DLTensor& mask) {
  if (mask.device.device_type != kDLCPU) throw Error(Code::invalid_argument, "mask is not on the CPU");
  if ((mask.dtype.code != kDLUInt && mask.dtype.code != kDLBool) || mask.dtype.bits != 8 || mask.dtype.lanes != 1)
    throw Error(Code::type_error, "mask is not uint8 or bool");
  if (mask.ndim != 3)
    throw Error(Code::invalid_argument,
                "mask has shape " + shape_string(mask.shape, mask.ndim) + "; expected is (N, rows, columns)");
  const int64_t rows = mask.shape[1], columns = mask.shape[2], dense[] = {rows * columns, columns, 1};
  const int64_t* strides = mask.strides ? mask.strides : dense;
  const auto* from = static_cast<const uint8_t*>(mask.data) + mask.byte_offset;
  std::vector<uint8_t> seen;
  for (int64_t n = 0; n < mask.shape[0]; ++n)
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) seen.push_back(from[n * strides[0] + i * strides[1] + j * strides[2]]);
  return seen;
}

SparsePool parse_pool(const std::string& mode) {
  if (mode == "max") return SparsePool::max;
  if (mode == "sum") return SparsePool::sum;
  if (mode == "avg") return SparsePool::mean;
  throw Error(Code::invalid_argument, "mode is '" + mode + "'; allowed are 'max', 'sum', 'avg'");
}

}  // namespace
}  // namespace omniconv::c_api

using namespace omniconv;
using namespace omniconv::c_api;

extern "C" {

omniconv_status omniconv_sparse_map_create(const DLTensor* coords, const char* mode,
                                           const omniconv_sparse_window* window, omniconv_sparse_map** map) {
  return guarded([&] {
    required(map, "map") = nullptr;
    const SharedSites in = sites_of(coords);
    *map = new omniconv_sparse_map{map_of(in, &required(mode, "mode"), window_of(required(window, "window")))};
  });
}

omniconv_status omniconv_sparse_map_inverse(const omniconv_sparse_map* map, omniconv_sparse_map** inverse) {
  return guarded([&] {
    required(inverse, "inverse") = nullptr;
    *inverse = new omniconv_sparse_map{required(map, "map").map.adjoint()};
  });
}

void omniconv_sparse_map_destroy(omniconv_sparse_map* map) { delete map; }

omniconv_status omniconv_sparse_map_sizes(const omniconv_sparse_map* map, int64_t* out_rows, int64_t* taps,
                                          int64_t* pairs) {
  return guarded([&] {
    const SparseMap& m = required(map, "map").map;
    if (out_rows) *out_rows = m.out()->rows();
    if (taps) *taps = m.taps();
    if (pairs) *pairs = m.pairs();
  });
}

omniconv_status omniconv_sparse_map_out_coords(const omniconv_sparse_map* map, int32_t* coords) {
  return guarded([&] {
    const std::vector<int32_t>& all = required(map, "map").map.out()->coords();
    if (!all.empty()) std::copy(all.begin(), all.end(), &required(coords, "coords"));
  });
}

omniconv_status omniconv_sparse_conv(const omniconv_sparse_map* map, const DLTensor* x, const DLTensor* weight,
                                     int64_t groups, const DLTensor* bias, const DLTensor* scale,
                                     const DLTensor* residual, const char* activation, float negative_slope,
                                     const DLTensor* out) {
  return guarded([&] {
    const SparseEpilogue epilogue{optional_array(bias, "bias"), optional_array(scale, "scale"),
                                  optional_array(residual, "residual"),
                                  parse_activation(activation ? activation : "none"), negative_slope};
    sparse_convolve(required(map, "map").map, array(x, "x"), array(weight, "weight"), groups, epilogue,
                    array(out, "out"));
  });
}

omniconv_status omniconv_sparse_conv_grad_weight(const omniconv_sparse_map* map, const DLTensor* x,
                                                 const DLTensor* grad, int64_t groups, const DLTensor* out) {
  return guarded([&] {
    sparse_grad_weight(required(map, "map").map, array(x, "x"), array(grad, "grad"), groups, array(out, "out"));
  });
}

omniconv_status omniconv_sparse_pool(const omniconv_sparse_map* map, const char* mode, const DLTensor* x,
                                     const DLTensor* out) {
  return guarded([&] {
    sparse_pool(required(map, "map").map, parse_pool(&required(mode, "mode")), array(x, "x"), array(out, "out"));
  });
}

omniconv_status omniconv_spmm(const omniconv_csr* matrix, const DLTensor* x, const DLTensor* bias,
                              const char* activation, float negative_slope, const DLTensor* out) {
  return guarded([&] {
    const omniconv_csr& m = required(matrix, "matrix");
    spmm({m.begin, m.indices, m.values, m.row_scale, m.column_scale, m.rows, m.columns, m.entries}, array(x, "x"),
         optional_array(bias, "bias"), parse_activation(activation ? activation : "none"), negative_slope,
         array(out, "out"));
  });
}

omniconv_status omniconv_masked_conv(omniconv_conv_op op, const DLTensor* a, const DLTensor* b, const DLTensor* mask,
                                     const DLTensor* bias, const DLTensor* scale, const DLTensor* residual,
                                     const DLTensor* out, const omniconv_conv_options* options) {
  return guarded([&] {
    const ConvOp o = parse(op);
    const DLTensor* x = o == ConvOp::forward ? a : o == ConvOp::grad_input ? out : b;
    const DLTensor* weight = o == ConvOp::grad_weight ? out : b;
    const DLTensor& m = required(mask, "mask");
    const std::vector<uint8_t> seen = cells_of(m);
    masked_convolve(describe(o, options, x, weight), {seen.data(), m.shape[0], m.shape[1], m.shape[2]},
                    {array(a, o == ConvOp::forward ? "x" : "grad"), array(b, o == ConvOp::grad_weight ? "x" : "weight"),
                     array(out, "out"), optional_array(bias, "bias"), optional_array(scale, "scale"),
                     optional_array(residual, "residual")});
  });
}

}  // extern "C"
