// tests/fft/test_plan_allocations.cpp -- a run in the caller's workspace allocates nothing
//
// A program of its own: it replaces the global operator new, and aligned_alloc, which the library's buffers use.
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <vector>

#include "core/workspace.hpp"
#include "omniconv/fft.hpp"

namespace {

std::atomic<int64_t> allocations{0};

void* counted(size_t bytes, size_t alignment) {
  ++allocations;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, bytes) != 0) throw std::bad_alloc();
  return memory;
}

// Not inlined: GCC would see a free() of what operator new returned, and warn.
__attribute__((noinline)) void release(void* memory) { std::free(memory); }

}  // namespace

void* operator new(size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
void* operator new[](size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
void* operator new(size_t bytes, std::align_val_t alignment) { return counted(bytes, size_t(alignment)); }
void* operator new[](size_t bytes, std::align_val_t alignment) { return counted(bytes, size_t(alignment)); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return counted(bytes, alignof(std::max_align_t)); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return counted(bytes, alignof(std::max_align_t)); }
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, size_t) noexcept { release(memory); }
void operator delete[](void* memory, size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { release(memory); }

// Sanitizers bring an aligned_alloc of their own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
extern "C" void* aligned_alloc(size_t alignment, size_t bytes) { return counted(bytes, alignment); }
#endif

namespace omniconv {
namespace {

TEST(Allocations, OfARun) {
  const int64_t length = 40000;
  std::vector<float> u(2 * 2 * length, 1.0f), y(u.size()), k(2 * length, 0.5f);
  for (const char* algorithm : {"direct", "fft", "overlap_save", "reference"}) {
    const bool short_kernel = algorithm[0] != 'f';
    const int64_t taps = short_kernel ? 20 : length;
    const FftConvPlan plan({.length = length, .taps = taps, .algorithm = algorithm});
    const FftSpectrum spectrum = plan.transform(TensorView(k.data(), {2, taps}));
    const AlignedBuffer memory(plan.workspace_bytes());
    const FftConvOperands o{.u = TensorView(u.data(), {2, 2, length}), .out = TensorView(y.data(), {2, 2, length})};
    plan.run(spectrum, o, memory.data(), memory.size());  // starts the threads
    const int64_t before = allocations;
    plan.run(spectrum, o, memory.data(), memory.size());
    EXPECT_EQ(allocations, before) << algorithm;
  }
  FftConvDesc desc{.length = length, .halvings = 2, .keep = 0.1};
  desc.taps = desc.reverse_taps = fft_lower_rate_length(desc.dtype, length, desc.keep, desc.halvings);
  const FftConvPlan plan(desc);
  const TensorView lags(k.data(), {2, desc.taps});
  const FftSpectrum spectrum = plan.transform(lags, lags);
  const AlignedBuffer memory(plan.workspace_bytes());
  const FftConvOperands o{.u = TensorView(u.data(), {2, 2, length}), .out = TensorView(y.data(), {2, 2, length})};
  plan.run(spectrum, o, memory.data(), memory.size());
  const int64_t before = allocations;
  plan.run(spectrum, o, memory.data(), memory.size());
  EXPECT_EQ(allocations, before);
}

}  // namespace
}  // namespace omniconv
