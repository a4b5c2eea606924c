// prim/platform.cuh -- nvcc or, for the emulator, a host compiler: everything below this folder is the same text for
// both
//
// A primitive has two bodies side by side, under OMNICONV_EMULATED and its opposite. Nothing outside of cuda/prim holds
// PTX, asks which of the two is compiling, or launches a kernel by itself.
#pragma once

#if defined(__CUDACC__)
#define OMNICONV_EMULATED 0
#include <cuda_runtime.h>

#include <cstdint>
#define OMNICONV_NOINLINE __noinline__
#else
#define OMNICONV_EMULATED 1
#include "emu/shim.hpp"
#define OMNICONV_NOINLINE __attribute__((noinline))
#endif

namespace omniconv::prim {

// The place in the source for the emulator's reports; nothing on a device.
#if OMNICONV_EMULATED
using Site = emu::Site;
#else
struct Site {
  __device__ static constexpr Site current() { return {}; }
};
#endif

constexpr unsigned kFullMask = 0xffffffffu;

__device__ inline int lane() {
#if OMNICONV_EMULATED
  return emu::lane();
#else
  return int(threadIdx.x % 32);  // blocks here are one-dimensional
#endif
}

__device__ inline float component(const float4& v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

}  // namespace omniconv::prim
