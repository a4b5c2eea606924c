// emu/block.hpp -- the state of one running block; only the emulator sees it
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "emu/emu.hpp"
#include "emu/fiber.hpp"

namespace omniconv::emu {

enum class State { ready, at_block, at_warp, done };

struct Copy {
  Array* to;
  int64_t index, count;
  const void* from;
  int group;
};

struct Thread {
  int id = 0, lane = 0, warp = 0;
  Index index;
  State state = State::ready;
  uint32_t mask = 0;  // of the warp operation it waits at
  Site site;          // where it waits
  uint32_t block_epoch = 0, warp_epoch = 0;
  std::vector<Copy> copies;  // issued, not landed; in order
  int group = 0;             // groups committed so far
  Fiber fiber;
};

// What the lanes of one mask give one another. Two sets in turn: a lane may give again while others still read what it
// gave last, but not twice. Masks have sets of their own, for lanes outside of one take no part in the turns.
struct Meeting {
  uint32_t mask;
  uint32_t count[32];
  alignas(16) unsigned char given[2][32][kMostBytes];
};

struct Block {
  std::vector<std::unique_ptr<Thread>> threads;  // at least `count`; kept, as making a stack takes time
  int count = 0, arrived = 0, last = 0;
  Thread* self = nullptr;
  std::vector<std::vector<std::unique_ptr<Meeting>>> meetings;  // of each warp
  std::vector<std::unique_ptr<Array>> arrays;
  size_t dynamic_bytes = 0;
  void (*body)(const void*) = nullptr;
  const void* argument = nullptr;
  std::string fault;

  void set_threads(Index shape);
  void prepare();
};

Block& this_block();
Thread& this_thread();

}  // namespace omniconv::emu
