// prim/copy.cuh -- cp.async: global memory to shared memory, past the registers
//
// A copy is there for its own thread after the wait for its group, for other threads after a barrier behind that wait.
#pragma once

#include "prim/shared.cuh"

namespace omniconv::prim {

// kBytes (4, 8 or 16, both sides aligned to them) to to(index...), or zeros where not `valid`; `from` must be an
// address that may be formed even then.
template <int kBytes, class T>
__device__ inline void copy_async(Shared<T> to, int index, const T* from, bool valid, Site site = Site::current()) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  static_assert(kBytes % sizeof(T) == 0);
#if OMNICONV_EMULATED
  if (valid && reinterpret_cast<uintptr_t>(from) % kBytes != 0) emu::fault("misaligned source of cp.async", site);
  if ((to.first + index) * sizeof(T) % kBytes != 0) emu::fault("misaligned destination of cp.async", site);
  emu::copy_async(to.array, to.first + index, kBytes / int(sizeof(T)), valid ? from : nullptr, site);
#else
  (void)site;
  const unsigned at = unsigned(__cvta_generic_to_shared(to.data + index));
  const int bytes = valid ? kBytes : 0;
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(at), "l"(from), "n"(kBytes), "r"(bytes)
                 : "memory");
#endif
}

// Closes a group of copies.
__device__ inline void copy_commit() {
#if OMNICONV_EMULATED
  emu::commit();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most kLeft of this thread's groups are under way.
template <int kLeft>
__device__ inline void copy_wait() {
#if OMNICONV_EMULATED
  emu::wait(kLeft);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
#endif
}

}  // namespace omniconv::prim
