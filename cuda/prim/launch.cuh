// prim/launch.cuh -- the one way to start a kernel, and what surrounds it: memory, devices, errors
#pragma once

#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>

#include "prim/platform.cuh"

namespace omniconv::prim {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Stream = void*;  // a cudaStream_t; null is the legacy default stream

struct Grid {
  unsigned x = 1, y = 1, z = 1;
};

#if !OMNICONV_EMULATED
inline void check(cudaError_t error, const char* doing) {
  if (error != cudaSuccess) throw Failure(std::string(doing) + ": " + cudaGetErrorString(error));
}
#endif

// Blocks of `threads` threads; the kernel gets copies of the arguments. Asynchronous on a device.
template <class... Parameters>
void launch(void (*kernel)(Parameters...), Grid grid, int threads, size_t dynamic_bytes, Stream stream,
            std::type_identity_t<Parameters>... arguments) {
#if OMNICONV_EMULATED
  (void)stream;
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> parameters;
  } const call{kernel, std::tuple<Parameters...>(arguments...)};
  emu::launch(
      {grid.x, grid.y, grid.z}, {unsigned(threads), 1, 1}, dynamic_bytes,
      [](const void* c) { std::apply(static_cast<const Call*>(c)->kernel, static_cast<const Call*>(c)->parameters); },
      &call);
#else
  void* pointers[] = {static_cast<void*>(&arguments)..., nullptr};
  const void* function = reinterpret_cast<const void*>(kernel);
  if (dynamic_bytes > 48 * 1024)
    check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, int(dynamic_bytes)),
          "asking for shared memory");
  check(cudaLaunchKernel(function, dim3(grid.x, grid.y, grid.z), dim3(unsigned(threads)), pointers, dynamic_bytes,
                         static_cast<cudaStream_t>(stream)),
        "launching a kernel");
#endif
}

}  // namespace omniconv::prim
