// prim/prim.cuh -- everything a kernel may use of the machine
#pragma once

#include "prim/copy.cuh"
#include "prim/launch.cuh"
#include "prim/mma.cuh"
#include "prim/platform.cuh"
#include "prim/shared.cuh"
#include "prim/warp.cuh"
