// emu/fiber.cpp -- the switch itself, for x86-64 and aarch64
#include "emu/fiber.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

// void omniconv_emu_switch(void** save, void* load): the stack pointer goes to *save, then becomes load.
extern "C" void omniconv_emu_switch(void** save, void* load);

#if defined(__x86_64__)
__asm__(R"(
.text
.p2align 4
.globl omniconv_emu_switch
.hidden omniconv_emu_switch
.type omniconv_emu_switch, @function
omniconv_emu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size omniconv_emu_switch, .-omniconv_emu_switch
)");
#elif defined(__aarch64__)
__asm__(R"(
.text
.p2align 4
.globl omniconv_emu_switch
.hidden omniconv_emu_switch
.type omniconv_emu_switch, %function
omniconv_emu_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size omniconv_emu_switch, .-omniconv_emu_switch
)");
#else
#error "the emulator knows how to switch stacks on x86-64 and aarch64"
#endif

namespace omniconv::emu {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStack = size_t{512} << 10;  // redzones around every local
#else
constexpr size_t kStack = size_t{128} << 10;  // untouched pages cost nothing
#endif

}  // namespace

Fiber::Fiber() {
  void* memory = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  stack_ = static_cast<char*>(memory);
}

Fiber::~Fiber() { munmap(stack_, kStack); }

void Fiber::prepare(void (*body)()) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack_, kStack);  // of a fiber that was left for good
#endif
  auto* top = reinterpret_cast<void**>(stack_ + kStack);
#if defined(__x86_64__)
  // Six registers, then the address that `ret` takes: a function expects the stack 8 below a multiple of 16.
  top -= 2;
  *top = reinterpret_cast<void*>(body);
  top -= 6;
  for (int i = 0; i < 6; ++i) top[i] = nullptr;
#else
  top -= 20;
  for (int i = 0; i < 20; ++i) top[i] = nullptr;
  top[11] = reinterpret_cast<void*>(body);  // x30
#endif
  inside_ = top;
}

// AddressSanitizer has to be told which stack is in use. Only with it do these two do anything.
void Fiber::entered() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &outside_stack_, &outside_size_);
#endif
}

void Fiber::enter() {
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, stack_, kStack);
  omniconv_emu_switch(&outside_, inside_);
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
  omniconv_emu_switch(&outside_, inside_);
#endif
}

void Fiber::leave() {
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, outside_stack_, outside_size_);
  omniconv_emu_switch(&inside_, outside_);
  __sanitizer_finish_switch_fiber(fake, &outside_stack_, &outside_size_);
#else
  omniconv_emu_switch(&inside_, outside_);
#endif
}

}  // namespace omniconv::emu
