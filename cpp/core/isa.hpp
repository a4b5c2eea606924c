// cpp/core/isa.hpp -- which instruction set the kernels use: what the CPU has, what the user chose.
#pragma once

#include <string_view>
#include <vector>

namespace omniconv {

// In order of preference within a platform; x86-64 has no neon, aarch64 only scalar and neon.
enum class Isa { scalar, neon, avx2, avx512, avx512vnni, amx };

std::string_view name(Isa isa);

// The inverse of name(). Error(invalid_argument) lists the allowed names.
Isa parse_isa(std::string_view name);

// What this CPU and operating system can run, worst first. Detected once; asks the kernel for AMX permission.
std::vector<Isa> available_isas();
bool is_available(Isa isa);

// The level in force: the last set_isa(), else OMNICONV_ISA, else the best available. A bad OMNICONV_ISA is an
// Error(invalid_argument) here, at every call, until set_isa() overrides it.
Isa current_isa();

// Error(not_supported) where the machine lacks it.
void set_isa(Isa isa);

}  // namespace omniconv
