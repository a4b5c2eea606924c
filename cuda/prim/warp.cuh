// prim/warp.cuh -- shuffles, votes and atomics
#pragma once

#include "prim/shared.cuh"

namespace omniconv::prim {

// The value that lane `from` gave.
template <class T>
__device__ inline T shuffle(T value, int from, unsigned mask = kFullMask, Site site = Site::current()) {
#if OMNICONV_EMULATED
  const emu::Given given = emu::exchange(mask, &value, sizeof value, site);
  if (!(mask >> (from & 31) & 1)) emu::fault("a shuffle from a lane outside of the mask", site);
  return given.of<T>(from & 31);
#else
  (void)site;
  return __shfl_sync(mask, value, from);
#endif
}

// The value of the lane whose number differs in the bits of `bits`.
template <class T>
__device__ inline T shuffle_xor(T value, int bits, unsigned mask = kFullMask, Site site = Site::current()) {
#if OMNICONV_EMULATED
  return shuffle(value, lane() ^ bits, mask, site);
#else
  (void)site;
  return __shfl_xor_sync(mask, value, bits);
#endif
}

// The value of the lane `by` below or above; its own where there is none.
template <class T>
__device__ inline T shuffle_up(T value, unsigned by, unsigned mask = kFullMask, Site site = Site::current()) {
#if OMNICONV_EMULATED
  return shuffle(value, lane() >= int(by) ? lane() - int(by) : lane(), mask, site);
#else
  (void)site;
  return __shfl_up_sync(mask, value, by);
#endif
}
template <class T>
__device__ inline T shuffle_down(T value, unsigned by, unsigned mask = kFullMask, Site site = Site::current()) {
#if OMNICONV_EMULATED
  return shuffle(value, lane() + int(by) < 32 ? lane() + int(by) : lane(), mask, site);
#else
  (void)site;
  return __shfl_down_sync(mask, value, by);
#endif
}

// One bit for each lane of the mask.
__device__ inline unsigned ballot(bool vote, unsigned mask = kFullMask, Site site = Site::current()) {
#if OMNICONV_EMULATED
  const emu::Given given = emu::exchange(mask, &vote, sizeof vote, site);
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i)
    if (mask >> i & 1) bits |= unsigned(given.of<bool>(i)) << i;
  return bits;
#else
  (void)site;
  return __ballot_sync(mask, vote);
#endif
}
__device__ inline bool any(bool vote, unsigned mask = kFullMask, Site site = Site::current()) {
#if OMNICONV_EMULATED
  return ballot(vote, mask, site) != 0;
#else
  (void)site;
  return __any_sync(mask, vote) != 0;
#endif
}
__device__ inline bool all(bool vote, unsigned mask = kFullMask, Site site = Site::current()) {
#if OMNICONV_EMULATED
  return ballot(vote, mask, site) == mask;
#else
  (void)site;
  return __all_sync(mask, vote) != 0;
#endif
}

// Integers only: what atomics add in no fixed order must not depend on it.
__device__ inline int atomic_add(Shared<int> to, int index, int value, Site site = Site::current()) {
#if OMNICONV_EMULATED
  emu::check_atomic(to.array, to.first + index, site);
  int* at = reinterpret_cast<int*>(to.array->data()) + to.first + index;
  const int before = *at;
  *at += value;
  return before;
#else
  (void)site;
  return atomicAdd(to.data + index, value);
#endif
}
__device__ inline int atomic_add(int* to, int value) {
#if OMNICONV_EMULATED
  const int before = *to;
  *to += value;
  return before;
#else
  return atomicAdd(to, value);
#endif
}

}  // namespace omniconv::prim
