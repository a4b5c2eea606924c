// emu/fiber.hpp -- a call stack that can be left and entered again: one per emulated CUDA thread
//
// swapcontext would do, but it asks the kernel for the signal mask at every switch, and a block of 256 threads switches
// 256 times per barrier; this switch saves the registers a callee must keep, and nothing else.
#pragma once

#include <cstddef>

namespace omniconv::emu {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next enter() calls `body`, which must leave for the last time instead of returning. A fiber that was
  // left half-way may be prepared anew: what was on its stack is forgotten.
  void prepare(void (*body)());
  void enter();    // from the scheduler; comes back when the fiber leaves
  void leave();    // from inside; comes back when the fiber is entered again
  void entered();  // the first thing that `body` calls

 private:
  char* stack_;
  void* inside_ = nullptr;   // stack pointer of the fiber while it is left
  void* outside_ = nullptr;  // stack pointer of who entered it
  const void* outside_stack_ = nullptr;
  size_t outside_size_ = 0;
};

}  // namespace omniconv::emu
