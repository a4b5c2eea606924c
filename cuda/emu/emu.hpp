// emu/emu.hpp -- what the primitives of cuda/prim call when a .cu is compiled as host C++
//
// Blocks run one after the other, the threads of a block as fibers that leave at barriers and warp operations only.
// Which one goes on is the schedule: lock-step takes them in turn, run-ahead lets one warp run as far as it can, random
// is what it says, with a seed. Whatever the schedule, shared memory keeps account of who touched what since the last
// barrier, so that most races are reported even where the numbers come out right.
//
// A mistake of the kernel ends the launch with a Fault. Its text names the place in the source.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <stdexcept>
#include <string>
#include <vector>

namespace omniconv::emu {

using Site = std::source_location;

struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Order { lock_step, run_ahead, random };
struct Schedule {
  Order order = Order::lock_step;
  uint64_t seed = 0;
};

// "lock-step", "run-ahead", "random" or "random:<seed>". std::invalid_argument for anything else.
Schedule parse_schedule(const std::string& text);
// Of the calling thread, for launches from now on. It starts as OMNICONV_EMU_SCHEDULE says, else lock-step.
void set_schedule(Schedule schedule);
Schedule schedule();

struct Index {
  unsigned x = 1, y = 1, z = 1;
};

// Of the thread that runs now; what threadIdx and its kin are in a kernel. Kernels ask often: with the other models of
// a shared library every access to a thread_local is a call.
struct Where {
  Index thread{0, 0, 0}, block{0, 0, 0}, threads, blocks;
};
extern thread_local Where where __attribute__((tls_model("initial-exec")));

// Runs body(argument) once for every thread of every block.
void launch(Index blocks, Index threads, size_t dynamic_bytes, void (*body)(const void*), const void* argument);

// ---- barriers and warp operations
// ------------------------------------------------------------------------------------

void sync_block(Site site);
void sync_warp(uint32_t mask, Site site);
int lane();

// All lanes of `mask` meet; each gives `bytes` (at most kMostBytes) and can then read what every other one gave.
constexpr size_t kMostBytes = 64;
struct Given {
  uint32_t lanes;  // who took part
  const unsigned char (*bytes)[kMostBytes];
  template <class T>
  const T& of(int lane) const {
    return *reinterpret_cast<const T*>(bytes[lane]);
  }
};
Given exchange(uint32_t mask, const void* mine, size_t bytes, Site site);

[[noreturn]] void fault(const std::string& what, Site site);

// ---- shared memory
// -----------------------------------------------------------------------------------------------------

// Who touched an element last. Two accesses are in order when a block barrier lies between them, or a warp barrier
// where both threads are of one warp, or when they are of one thread.
struct Access {
  int thread = -1;  // -1: nobody; -2: several; -3: atomically
  int warp = -1;    // -2: several
  uint32_t block_epoch = 0, warp_epoch = 0;
};
struct Element {
  Access written, read;
  int pending = 0;  // copies that have not landed
};

// One array in shared memory of the running block.
struct Array {
  const void* key;
  size_t count, item;
  std::vector<unsigned char> memory;
  std::vector<Element> elements;
  unsigned char* data() { return memory.data() + offset; }
  size_t offset = 0;  // to a 128-byte boundary
};

// The array declared at `key`, the same for all threads of the block; new and filled with NaN in every block.
Array* shared(const void* key, size_t count, size_t item, Site site);
// Part of the dynamic shared memory; Fault if it reaches past what the launch gave.
Array* dynamic_shared(size_t first_byte, size_t count, size_t item, Site site);

// `count` elements from `index` on.
void check_read(Array* array, int64_t index, int64_t count, Site site);
void check_write(Array* array, int64_t index, int64_t count, Site site);
void check_atomic(Array* array, int64_t index, Site site);

// ---- cp.async
// ----------------------------------------------------------------------------------------------------------

// `count` elements of `to` from global memory, or zeros where from is null. Reads and lands at the wait.
void copy_async(Array* to, int64_t index, int64_t count, const void* from, Site site);
void commit();
void wait(int groups_left);

}  // namespace omniconv::emu
