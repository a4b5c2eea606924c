// omniconv/tensor.hpp -- a view of somebody else's memory: pointer, type, shape, strides
#pragma once

#include <dlpack/dlpack.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "omniconv/export.hpp"
#include "omniconv/status.hpp"

namespace omniconv {

// Integers are operands of the families that say so.
enum class DType { float32, float64, int16, int32, int64 };

OMNICONV_API const char* name(DType dtype);

inline constexpr int kMaxDims = 8;

// Where the memory of an array is; the numbers are those of DLPack.
struct Device {
  DLDeviceType type = kDLCPU;
  int id = 0;
  bool operator==(const Device&) const = default;
};

OMNICONV_API std::string name(Device device);  // "the CPU", "cuda:0"

// Strides count elements, may be zero or negative, and are never assumed dense.
// The view owns nothing; what it points at must outlive the call it is passed to.
struct OMNICONV_API TensorView {
  void* data = nullptr;
  DType dtype = DType::float32;
  int ndim = 0;
  std::array<int64_t, kMaxDims> shape{};
  std::array<int64_t, kMaxDims> strides{};
  Device device{};

  TensorView() = default;

  // A dense row-major view.
  TensorView(void* data, DType dtype, std::initializer_list<int64_t> shape);
  TensorView(float* data, std::initializer_list<int64_t> shape) : TensorView(data, DType::float32, shape) {}
  TensorView(double* data, std::initializer_list<int64_t> shape) : TensorView(data, DType::float64, shape) {}

  // The view a DLPack tensor describes. Throws Error (`argument` names it in the message) for a
  // device or a type other than those allowed, not 1 to 8 dimensions, sizes or strides that overflow, or data that is
  // not aligned to its elements.
  enum class On { cpu, cpu_or_cuda };
  enum class Types { floats, floats_and_integers };
  static TensorView from_dlpack(const DLTensor& tensor, const char* argument, On allowed = On::cpu,
                                Types types = Types::floats);

  int64_t size() const;       // number of elements
  int64_t item_size() const;  // bytes of an element
  bool defined() const { return ndim > 0; }
  TensorView permuted(const int* axes) const;  // axis i of the result is axis axes[i] of this
};

// "(2, 3, 224, 224)"
OMNICONV_API std::string shape_string(const int64_t* shape, int ndim);

}  // namespace omniconv
