// prim/shared.cuh -- arrays in shared memory
//
//   OMNICONV_SHARED(float, tile, 8 * 128);         // static
//   auto tile = prim::dynamic_shared<float>(0, n);  // n elements of the launch's dynamic bytes, from byte 0 on
//   tile(i) = 1;  float4 v = tile.load4(i);
//
// On a device these are a pointer and nothing else. The emulator checks every access: bounds, races, copies that have
// not landed, elements that nobody wrote.
#pragma once

#include "prim/platform.cuh"

namespace omniconv::prim {

#if OMNICONV_EMULATED

template <class T>
class Ref {
 public:
  Ref(emu::Array* array, int64_t index, Site site) : array_(array), index_(index), site_(site) {}
  operator T() const {
    emu::check_read(array_, index_, 1, site_);
    T value;
    std::memcpy(&value, array_->data() + index_ * sizeof(T), sizeof(T));
    return value;
  }
  void operator=(T value) {
    emu::check_write(array_, index_, 1, site_);
    std::memcpy(array_->data() + index_ * sizeof(T), &value, sizeof(T));
  }
  void operator=(const Ref& other) { *this = T(other); }

 private:
  emu::Array* array_;
  int64_t index_;
  Site site_;
};

template <class T>
struct Shared {
  emu::Array* array;
  int64_t first;

  Ref<T> operator()(int64_t i, Site site = Site::current()) const { return {array, first + i, site}; }
  Shared from(int64_t i) const { return {array, first + i}; }
  // 16 bytes at a 16-byte boundary.
  float4 load4(int64_t i, Site site = Site::current()) const {
    aligned(i, site);
    emu::check_read(array, first + i, 16 / sizeof(T), site);
    float4 value;
    std::memcpy(&value, array->data() + (first + i) * sizeof(T), 16);
    return value;
  }
  void store4(int64_t i, float4 value, Site site = Site::current()) const {
    aligned(i, site);
    emu::check_write(array, first + i, 16 / sizeof(T), site);
    std::memcpy(array->data() + (first + i) * sizeof(T), &value, 16);
  }
  void aligned(int64_t i, Site site) const {
    if ((first + i) * sizeof(T) % 16 != 0)
      emu::fault("misaligned: 16 bytes at element " + std::to_string(first + i) + " of shared memory", site);
  }
};

// A variable of its own for every declaration and every instance of a template is what tells two arrays apart.
#define OMNICONV_SHARED(T, name, count) \
  static const char name##_key = 0;     \
  const ::omniconv::prim::Shared<T> name{::omniconv::emu::shared(&name##_key, (count), sizeof(T), {}), 0}

template <class T>
Shared<T> dynamic_shared(size_t first_byte, size_t count, Site site = Site::current()) {
  return {emu::dynamic_shared(first_byte, count, sizeof(T), site), 0};
}

#else

template <class T>
struct Shared {
  T* data;

  __device__ T& operator()(int i) const { return data[i]; }
  __device__ Shared from(int i) const { return {data + i}; }
  __device__ float4 load4(int i) const { return *reinterpret_cast<const float4*>(data + i); }
  __device__ void store4(int i, float4 value) const { *reinterpret_cast<float4*>(data + i) = value; }
};

#define OMNICONV_SHARED(T, name, count)             \
  __shared__ alignas(128) T name##_memory[(count)]; \
  const ::omniconv::prim::Shared<T> name { name##_memory }

template <class T>
__device__ Shared<T> dynamic_shared(unsigned first_byte, unsigned) {
  extern __shared__ __align__(128) unsigned char omniconv_dynamic_shared[];
  return {reinterpret_cast<T*>(omniconv_dynamic_shared + first_byte)};
}

#endif

}  // namespace omniconv::prim
