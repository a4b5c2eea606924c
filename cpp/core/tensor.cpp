// core/tensor.cpp -- views over DLPack tensors and plain memory
#include "omniconv/tensor.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>

namespace omniconv {

const char* name(DType dtype) {
  switch (dtype) {
    case DType::float32: return "float32";
    case DType::float64: return "float64";
    case DType::int16: return "int16";
    case DType::int32: return "int32";
    case DType::int64: return "int64";
  }
  return "unknown";
}

int64_t TensorView::item_size() const {
  switch (dtype) {
    case DType::int16: return 2;
    case DType::float32:
    case DType::int32: return 4;
    default: return 8;
  }
}

TensorView::TensorView(void* data, DType dtype, std::initializer_list<int64_t> sizes) : data(data), dtype(dtype) {
  if (sizes.size() > size_t(kMaxDims))
    throw Error(Code::invalid_argument,
                "a tensor of " + std::to_string(sizes.size()) + " dimensions; at most 8 are supported");
  ndim = int(sizes.size());
  std::copy(sizes.begin(), sizes.end(), shape.begin());
  int64_t stride = 1;
  for (int i = ndim - 1; i >= 0; --i) {
    strides[i] = stride;
    stride *= std::max<int64_t>(shape[i], 1);
  }
}

namespace {

// Later steps multiply sizes and strides without looking: whatever they can reach has to fit int64, in bytes.
void check_sizes(const TensorView& v, const std::string& who) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 16;
  int64_t count = 1, reach = 0;
  for (int i = 0; i < v.ndim; ++i) {
    if (v.shape[i] < 0)
      throw Error(Code::invalid_argument, who + " has a negative size: " + shape_string(v.shape.data(), v.ndim));
    const int64_t size = std::max<int64_t>(v.shape[i], 1);
    int64_t step;
    if (__builtin_mul_overflow(count, size, &count) || count > kMost ||
        __builtin_mul_overflow(size - 1, v.strides[i], &step) || step < -kMost || step > kMost ||
        (reach += std::abs(step)) > kMost)
      throw Error(Code::invalid_argument, who + " is too large: shape " + shape_string(v.shape.data(), v.ndim) +
                                              ", strides " + shape_string(v.strides.data(), v.ndim));
  }
}

}  // namespace

TensorView TensorView::from_dlpack(const DLTensor& t, const char* argument, On allowed, Types types) {
  const std::string who = argument;
  // Pinned host memory is host memory; managed memory belongs to the GPU that it names.
  const DLDeviceType type = t.device.device_type == kDLCUDAHost      ? kDLCPU
                            : t.device.device_type == kDLCUDAManaged ? kDLCUDA
                                                                     : t.device.device_type;
  if (type != kDLCPU && !(type == kDLCUDA && allowed == On::cpu_or_cuda))
    throw Error(Code::not_supported,
                who + " is on device type " + std::to_string(int(t.device.device_type)) +
                    (allowed == On::cpu ? "; only the CPU is supported" : "; the CPU and CUDA are supported"));
  if (t.ndim < 1 || t.ndim > kMaxDims)
    throw Error(Code::invalid_argument, who + " has " + std::to_string(t.ndim) + " dimensions; allowed are 1 to 8");
  if (!t.shape) throw Error(Code::invalid_argument, who + " has no shape");
  TensorView v;
  v.device = {type, type == kDLCPU ? 0 : t.device.device_id};
  constexpr struct {
    DLDataTypeCode code;
    int bits;
    DType dtype;
  } kTypes[] = {{kDLFloat, 32, DType::float32},
                {kDLFloat, 64, DType::float64},
                {kDLInt, 16, DType::int16},
                {kDLInt, 32, DType::int32},
                {kDLInt, 64, DType::int64}};
  const auto* found = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& k) {
    return t.dtype.code == k.code && t.dtype.bits == k.bits && t.dtype.lanes == 1 &&
           (k.code == kDLFloat || types == Types::floats_and_integers);
  });
  if (found == std::end(kTypes))
    throw Error(Code::type_error, who + " has DLPack type code " + std::to_string(int(t.dtype.code)) + " with " +
                                      std::to_string(int(t.dtype.bits)) + " bits; float32 and float64" +
                                      (types == Types::floats ? "" : ", int16, int32 and int64") + " are supported");
  v.dtype = found->dtype;
  v.data = t.data ? static_cast<char*>(t.data) + t.byte_offset : nullptr;
  if (reinterpret_cast<uintptr_t>(v.data) % v.item_size() != 0)
    throw Error(Code::invalid_argument,
                who + " is not aligned to its element size of " + std::to_string(v.item_size()) + " bytes");
  v.ndim = t.ndim;
  int64_t dense = 1;
  for (int i = t.ndim - 1; i >= 0; --i) {
    v.shape[i] = t.shape[i];
    v.strides[i] = t.strides ? t.strides[i] : dense;
    // An overflow here is one of the number of elements, which check_sizes finds.
    if (__builtin_mul_overflow(dense, std::max<int64_t>(t.shape[i], 1), &dense)) dense = 0;
  }
  check_sizes(v, who);
  return v;
}

int64_t TensorView::size() const {
  int64_t n = 1;
  for (int i = 0; i < ndim; ++i) n *= shape[i];
  return n;
}

TensorView TensorView::permuted(const int* axes) const {
  TensorView v = *this;
  for (int i = 0; i < ndim; ++i) {
    v.shape[i] = shape[axes[i]];
    v.strides[i] = strides[axes[i]];
  }
  return v;
}

std::string shape_string(const int64_t* shape, int ndim) {
  std::string s = "(";
  for (int i = 0; i < ndim; ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + (ndim == 1 ? ",)" : ")");
}

}  // namespace omniconv
