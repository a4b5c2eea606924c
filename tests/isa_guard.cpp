// tests/isa_guard.cpp -- leaves a test program early, as skipped, when this machine lacks the ISA it is compiled for.
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

bool machine_has(std::string_view isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();  // constructors of this priority run before the one that does it
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
  if (isa == "avx2") return avx2;
  if (isa == "avx512") return avx512;
  if (isa == "avx512vnni") return vnni;
  if (isa == "amx") return vnni && __builtin_cpu_supports("avx512bf16");  // the test itself asks for the tiles
#endif
  return isa == "scalar" || isa == "neon";
}

// Priority 101 is the first that user code may have: before the constructors that register the tests, which are
// compiled with the level's flags already.
__attribute__((constructor(101))) void leave_if_unsupported() {
  if (machine_has(OMNICONV_ISA_NAME)) return;
  std::puts("skipped: this machine has no " OMNICONV_ISA_NAME);
  std::fflush(stdout);
  std::_Exit(77);
}

}  // namespace
