// emu/shim.hpp -- the words of CUDA for a host compiler
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "emu/emu.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

#define threadIdx (::omniconv::emu::where.thread)
#define blockIdx (::omniconv::emu::where.block)
#define blockDim (::omniconv::emu::where.threads)
#define gridDim (::omniconv::emu::where.blocks)

inline void __syncthreads(omniconv::emu::Site site = omniconv::emu::Site::current()) {
  omniconv::emu::sync_block(site);
}
inline void __syncwarp(uint32_t mask = 0xffffffffu, omniconv::emu::Site site = omniconv::emu::Site::current()) {
  omniconv::emu::sync_warp(mask, site);
}

using std::erf;
using std::erfc;
using std::exp;
using std::fma;
using std::isnan;
using std::max;
using std::min;
using std::tanh;
