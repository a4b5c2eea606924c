// tests/conv/test_plan_allocations.cpp -- a packed plan with the caller's workspace allocates nothing
//
// A program of its own: it replaces the global operator new, and aligned_alloc, which the library's buffers use.
#include <atomic>
#include <cstddef>
#include <new>

#include "conv/conv_testing.hpp"

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

using namespace omniconv::testing;

TEST(Allocations, AreCounted) {
  const int64_t before = allocations;
  delete new int;
  std::free(std::aligned_alloc(64, 64));
  std::vector<int>(10).clear();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_EQ(allocations - before, 3);
#else
  EXPECT_EQ(allocations - before, 2);
#endif
}

TEST(Allocations, NoneInARunWithPackedWeights) {
  const Settings settings;
  for (const Case& c : cases())
    for (ConvOp op : kOps)
      for (int threads : {1, 2}) {
        set_num_threads(threads);
        ConvDesc desc = c.desc;
        desc.op = op;
        for (Order order : {Order::channels_first, Order::channels_last}) {
          desc.algorithm = "auto";
          desc.channels_last = order == Order::channels_last;
          for (const AlgorithmInfo& info : algorithms(desc)) {
            if (!info.usable || info.name == "reference") continue;  // which is to be plain, not fast
            desc.algorithm = info.name;
            const Arrays<float> arrays = make_arrays<float>(desc, order, true);
            const ConvOperands operands = arrays.operands();
            ConvPlan plan(desc);
            if (op != ConvOp::grad_weight) plan.pack(operands.b);
            const size_t bytes = plan.workspace_bytes();
            void* workspace = std::aligned_alloc(64, std::max<size_t>(bytes, 64));
            plan.run(operands, workspace, bytes);  // the first one starts the threads
            const int64_t before = allocations;
            plan.run(operands, workspace, bytes);
            EXPECT_EQ(allocations - before, 0) << c.name << ", " << testing::name(op) << ", " << info.name;
            std::free(workspace);
            // The library's own memory for the thread is there from the second run on.
            plan.run(operands);
            const int64_t own = allocations;
            plan.run(operands);
            EXPECT_EQ(allocations - own, 0) << c.name << ", " << testing::name(op) << ", " << info.name;
          }
        }
      }
}

}  // namespace
}  // namespace omniconv
