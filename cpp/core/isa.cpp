// cpp/core/isa.cpp -- CPU feature detection and the process-wide ISA choice.
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "omniconv/context.hpp"
#include "omniconv/status.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace omniconv {
namespace {

constexpr std::string_view kNames[] = {"scalar", "neon", "avx2", "avx512", "avx512vnni", "amx"};

#if defined(__x86_64__)

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);  // leaves r zero when the CPU has no such leaf
  return r;
}

constexpr bool all_set(uint64_t word, uint64_t bits) { return (word & bits) == bits; }

// The register state that the operating system saves (XCR0). Inline assembly, as _xgetbv needs -mxsave.
uint64_t saved_state(const Registers& leaf1) {
  if (!all_set(leaf1.ecx, bit_OSXSAVE)) return 0;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// Linux hands out the 8 KiB of tile registers only on request, once for the whole process and its children.
bool request_amx() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM, younger than many asm/prctl.h
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

// Asks for everything that the level's flags in Isa.cmake let the compiler use.
std::vector<Isa> detect() {
  constexpr uint64_t kAvxState = 0x6, kAvx512State = 0xe6, kTileState = 0x60000;
  constexpr uint32_t kAmxBf16TileInt8 = 1u << 22 | 1u << 24 | 1u << 25;  // GCC and Clang name these bits differently
  constexpr uint32_t kAvx512Bf16 = 1u << 5;
  const Registers leaf1 = cpuid(1), leaf7 = cpuid(7);
  const uint64_t saved = saved_state(leaf1);
  std::vector<Isa> found{Isa::scalar};
  if (!all_set(leaf1.ecx, bit_AVX | bit_FMA | bit_F16C) || !all_set(leaf7.ebx, bit_AVX2) || !all_set(saved, kAvxState))
    return found;
  found.push_back(Isa::avx2);
  if (!all_set(leaf7.ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL) || !all_set(saved, kAvx512State))
    return found;
  found.push_back(Isa::avx512);
  if (!all_set(leaf7.ecx, bit_AVX512VNNI)) return found;
  found.push_back(Isa::avx512vnni);
  if (!all_set(cpuid(7, 1).eax, kAvx512Bf16)) return found;
  if (!all_set(leaf7.edx, kAmxBf16TileInt8) || !all_set(saved, kTileState)) return found;
  if (request_amx()) found.push_back(Isa::amx);
  return found;
}

#elif defined(__aarch64__)

std::vector<Isa> detect() { return {Isa::scalar, Isa::neon}; }  // Advanced SIMD is part of the base architecture

#else

std::vector<Isa> detect() { return {Isa::scalar}; }

#endif

const std::vector<Isa>& available() {
  static const std::vector<Isa> isas = detect();
  return isas;
}

template <class Names>
std::string join(const Names& names) {
  std::string list;
  for (const auto& n : names) list.append(list.empty() ? "" : ", ").append(n);
  return list;
}

std::string available_names() {
  std::vector<std::string_view> names;
  for (Isa isa : available()) names.push_back(name(isa));
  return join(names);
}

Isa initial_isa() {
  const char* wish = std::getenv("OMNICONV_ISA");
  if (wish == nullptr || *wish == '\0') return available().back();
  for (Isa isa : available())
    if (name(isa) == wish) return isa;
  throw Error(Code::invalid_argument, "environment variable OMNICONV_ISA: found '" + std::string(wish) +
                                          "', this machine allows one of: " + available_names());
}

constexpr int kUnset = -1;
std::atomic<int> chosen{kUnset};

}  // namespace

std::string_view name(Isa isa) { return kNames[static_cast<int>(isa)]; }

Isa parse_isa(std::string_view text) {
  for (int i = 0; i < static_cast<int>(std::size(kNames)); ++i)
    if (kNames[i] == text) return static_cast<Isa>(i);
  throw Error(Code::invalid_argument, "isa: found '" + std::string(text) + "', allowed is one of: " + join(kNames));
}

std::vector<Isa> available_isas() { return available(); }

bool is_available(Isa isa) {
  for (Isa a : available())
    if (a == isa) return true;
  return false;
}

Isa current_isa() {
  int isa = chosen.load(std::memory_order_acquire);
  if (isa == kUnset) {
    const int first = static_cast<int>(initial_isa());
    // When another thread's set_isa() came first, isa now holds its value and that one stands.
    if (chosen.compare_exchange_strong(isa, first)) isa = first;
  }
  return static_cast<Isa>(isa);
}

void set_isa(Isa isa) {
  if (!is_available(isa))
    throw Error(Code::not_supported,
                "isa: found '" + std::string(name(isa)) + "', this machine allows one of: " + available_names());
  chosen.store(static_cast<int>(isa), std::memory_order_release);
}

}  // namespace omniconv
