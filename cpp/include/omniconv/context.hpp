// omniconv/context.hpp -- what the process computes with: instruction set and threads
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "omniconv/export.hpp"
#include "omniconv/status.hpp"

namespace omniconv {

// In order of preference within a platform; x86-64 has no neon, aarch64 only scalar and neon.
enum class Isa { scalar, neon, avx2, avx512, avx512vnni, amx };

OMNICONV_API std::string_view name(Isa isa);

// The inverse of name(). Error(invalid_argument) lists the allowed names.
OMNICONV_API Isa parse_isa(std::string_view name);

// What this CPU and operating system can run, worst first. Detected once; asks the kernel for AMX permission.
OMNICONV_API std::vector<Isa> available_isas();
OMNICONV_API bool is_available(Isa isa);

// The level in force: the last set_isa(), else OMNICONV_ISA, else the best available. A bad OMNICONV_ISA is an
// Error(invalid_argument) here, at every call, until set_isa() overrides it.
OMNICONV_API Isa current_isa();

// For plans made from now on. Error(not_supported) where the machine lacks it.
OMNICONV_API void set_isa(Isa isa);

// Threads that one operation may use, the caller included. At first use OMNICONV_NUM_THREADS, else what affinity and
// cgroup leave of the machine. A bad OMNICONV_NUM_THREADS is an Error(invalid_argument), at every call, until
// set_num_threads() overrides it.
OMNICONV_API int num_threads();

// 1 to 1024, else Error(invalid_argument). Waits for an operation that another thread is running.
OMNICONV_API void set_num_threads(int threads);

// The plugin for CUDA, opened by this call or the first CUDA tensor. OMNICONV_PLUGIN_PATH names another folder for it.
struct CudaReport {
  std::string plugin;                // its file
  std::string reason;                // why CUDA tensors cannot be computed on; empty: they can
  std::vector<std::string> devices;  // a line each: model, compute capability, memory
};
OMNICONV_API CudaReport cuda_report();

// What computes on arrays in host memory: "cpu", or "emu" where OMNICONV_DEVICE=emu sends them through the CUDA kernels
// on an emulator, for tests of those kernels.
OMNICONV_API std::string array_device();

}  // namespace omniconv
