// prim/device.cuh -- devices and their memory, for the plugin's table
#pragma once

#include <cstdio>
#include <cstdlib>
#include <new>

#include "core/device_plugin.hpp"
#include "prim/launch.cuh"

namespace omniconv::prim {

#if OMNICONV_EMULATED
constexpr const char* kDeviceName = "emu";
#else
constexpr const char* kDeviceName = "cuda";
#endif

// Runs the body and turns what it throws into a message.
template <class Body>
int guarded(DeviceMessage* message, Body&& body) {
  try {
    body();
    return 0;
  } catch (const std::bad_alloc& error) {
    std::snprintf(message->text, sizeof message->text, "the device has not enough memory");
    return kDeviceMemory;
  } catch (const std::exception& error) {
    std::snprintf(message->text, sizeof message->text, "%s", error.what());
    return kDeviceError;
  }
}

// Makes a device the current one of this thread; gives the caller's back at the end.
class On {
 public:
#if OMNICONV_EMULATED
  explicit On(int) {}
#else
  explicit On(int device) {
    check(cudaGetDevice(&before_), "asking for the current device");
    if (device == before_)
      before_ = -1;
    else
      check(cudaSetDevice(device), "choosing the device");
  }
  ~On() {
    if (before_ >= 0) cudaSetDevice(before_);
  }

 private:
  int before_ = -1;
#endif
};

inline int device_count(DeviceMessage* message) {
#if OMNICONV_EMULATED
  (void)message;
  return 1;
#else
  int count = 0, driver = 0;
  cudaDriverGetVersion(&driver);
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return count;
  if (driver == 0)
    std::snprintf(message->text, sizeof message->text, "no CUDA driver is installed");
  else if (driver < CUDART_VERSION / 1000 * 1000)
    std::snprintf(message->text, sizeof message->text, "the CUDA driver is for version %d.%d; needed is %d.0 or newer",
                  driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000);
  else if (error == cudaSuccess || error == cudaErrorNoDevice)
    std::snprintf(message->text, sizeof message->text, "there is no CUDA device");
  else
    std::snprintf(message->text, sizeof message->text, "CUDA cannot be used: %s", cudaGetErrorString(error));
  return 0;
#endif
}

inline void describe_device(int device, DeviceMessage* message) {
#if OMNICONV_EMULATED
  (void)device;
  std::snprintf(message->text, sizeof message->text, "emulator of CUDA on the CPU");
#else
  cudaDeviceProp p;
  check(cudaGetDeviceProperties(&p, device), "asking for properties");
  std::snprintf(message->text, sizeof message->text, "%s, compute capability %d.%d, %zu MiB", p.name, p.major, p.minor,
                p.totalGlobalMem >> 20);
#endif
}

inline void* allocate(Stream stream, size_t bytes) {
  void* memory = nullptr;
#if OMNICONV_EMULATED
  (void)stream;
  memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (!memory) throw std::bad_alloc();
#else
  const cudaError_t error = cudaMallocAsync(&memory, bytes, static_cast<cudaStream_t>(stream));
  if (error == cudaErrorMemoryAllocation) throw std::bad_alloc();
  check(error, "allocating memory");
#endif
  return memory;
}

inline void release(Stream stream, void* memory) {
#if OMNICONV_EMULATED
  (void)stream;
  std::free(memory);
#else
  check(cudaFreeAsync(memory, static_cast<cudaStream_t>(stream)), "releasing memory");
#endif
}

inline void settle() {
#if !OMNICONV_EMULATED
  check(cudaDeviceSynchronize(), "waiting for the device");
#endif
}

// Between host and device in either direction, after everything before it, and done at its end: for checks, not
// kernels.
inline void copy(void* to, const void* from, size_t bytes) {
#if OMNICONV_EMULATED
  std::memcpy(to, from, bytes);
#else
  check(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "copying");
#endif
}

}  // namespace omniconv::prim
