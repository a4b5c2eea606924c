// emu/emu.cpp -- the scheduler: threads of a block as fibers, their barriers, and what goes wrong there
#include "emu/emu.hpp"

#include <cstdlib>
#include <cstring>

#include "emu/block.hpp"

namespace omniconv::emu {
namespace {

thread_local bool chosen = false;
thread_local Schedule current;
thread_local Block* running = nullptr;

std::string said(Site site) {
  std::string file = site.file_name();
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(site.line());
}

std::string said(Index i) {
  return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

uint64_t next_random(uint64_t& state) {  // splitmix64
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

void thread_body() {
  Block& block = *running;
  Thread& self = *block.self;
  self.fiber.entered();
  block.body(block.argument);
  self.state = State::done;
  self.fiber.leave();
}

}  // namespace

thread_local Where where;

Schedule parse_schedule(const std::string& text) {
  if (text == "lock-step") return {Order::lock_step, 0};
  if (text == "run-ahead") return {Order::run_ahead, 0};
  if (text == "random") return {Order::random, 1};
  if (text.rfind("random:", 0) == 0) {
    char* end = nullptr;
    const uint64_t seed = std::strtoull(text.c_str() + 7, &end, 10);
    if (*end == '\0' && end != text.c_str() + 7) return {Order::random, seed};
  }
  throw std::invalid_argument("schedule is '" + text +
                              "'; allowed are 'lock-step', 'run-ahead', 'random' and 'random:<seed>'");
}

void set_schedule(Schedule schedule) {
  current = schedule;
  chosen = true;
}

Schedule schedule() {
  if (chosen) return current;
  const char* text = std::getenv("OMNICONV_EMU_SCHEDULE");
  return text && *text ? parse_schedule(text) : Schedule{};
}

Block& this_block() { return *running; }
Thread& this_thread() { return *running->self; }
int lane() { return this_thread().lane; }

void fault(const std::string& what, Site site) {
  Block& block = *running;
  block.fault = what + " by thread " + said(where.thread) + " of block " + said(where.block) + " at " + said(site);
  block.self->fiber.leave();
  std::abort();  // a block with a fault is never entered again
}

// ---- barriers
// ----------------------------------------------------------------------------------------------------------

void sync_block(Site site) {
  Block& block = *running;
  Thread& self = *block.self;
  self.state = State::at_block;
  self.site = site;
  if (++block.arrived == block.count) {
    block.arrived = 0;
    for (int i = 0; i < block.count; ++i) {
      Thread& t = *block.threads[i];
      if (t.site.line() != site.line() || std::strcmp(t.site.file_name(), site.file_name()) != 0)
        fault("divergent barrier: other threads of the block wait at " + said(t.site), site);
      t.state = State::ready;
      ++t.block_epoch;
    }
  }
  self.fiber.leave();
}

namespace {

// Waits until all lanes of the mask that exist are here.
void meet(uint32_t mask, Site site) {
  Block& block = *running;
  Thread& self = *block.self;
  if (!(mask >> self.lane & 1)) fault("a lane outside of the mask takes part in a warp operation", site);
  const int first = self.warp * 32, end = std::min(first + 32, block.count);
  self.state = State::at_warp;
  self.mask = mask;
  self.site = site;
  bool all = true;
  for (int i = first; i < end; ++i) {
    Thread& t = *block.threads[i];
    if (!(mask >> t.lane & 1)) continue;
    if (t.state == State::done) fault("divergent warp: a lane of the mask has returned", site);
    // A lane that waits elsewhere may be at an operation of fewer lanes, and come here after it.
    all &= t.state == State::at_warp && t.mask == mask && t.site.line() == site.line();
  }
  if (all)
    for (int i = first; i < end; ++i)
      if (mask >> block.threads[i]->lane & 1) block.threads[i]->state = State::ready;
  self.fiber.leave();
}

}  // namespace

void sync_warp(uint32_t mask, Site site) {
  meet(mask, site);
  // A barrier of part of a warp orders less than it could: what it guards may be reported as a race.
  if (mask == 0xffffffffu) ++this_thread().warp_epoch;
}

Given exchange(uint32_t mask, const void* mine, size_t bytes, Site site) {
  Thread& self = this_thread();
  auto& all = this_block().meetings[self.warp];
  auto found = std::find_if(all.begin(), all.end(), [&](const auto& m) { return m->mask == mask; });
  if (found == all.end()) found = all.insert(all.end(), std::make_unique<Meeting>(Meeting{mask, {}, {}}));
  Meeting& meeting = **found;
  auto* given = meeting.given[meeting.count[self.lane]++ & 1];
  std::memcpy(given[self.lane], mine, bytes);
  meet(mask, site);
  return {mask, given};
}

// ---- the scheduler
// -------------------------------------------------------------------------------------------------------

namespace {

// The thread to enter next, or null when none can go on.
Thread* next(Block& block, Schedule how, uint64_t& random) {
  const int n = block.count;
  switch (how.order) {
    case Order::lock_step:
      for (int i = 1; i <= n; ++i) {
        const int at = (block.last + i) % n;
        if (block.threads[at]->state == State::ready) return block.threads[at].get();
      }
      return nullptr;
    case Order::run_ahead: {
      const int warps = (n + 31) / 32, start = block.last / 32;
      for (int w = 0; w < warps; ++w) {
        const int first = (start + warps - w) % warps * 32;
        for (int i = first; i < std::min(first + 32, n); ++i)
          if (block.threads[i]->state == State::ready) return block.threads[i].get();
      }
      return nullptr;
    }
    case Order::random: {
      const int start = int(next_random(random) % uint64_t(n));
      for (int i = 0; i < n; ++i) {
        Thread* t = block.threads[(start + i) % n].get();
        if (t->state == State::ready) return t;
      }
      return nullptr;
    }
  }
  return nullptr;
}

std::string stuck(const Block& block) {
  int at_block = 0, at_warp = 0, done = 0;
  std::string places;
  for (int i = 0; i < block.count; ++i) {
    const Thread& t = *block.threads[i];
    at_block += t.state == State::at_block;
    at_warp += t.state == State::at_warp;
    done += t.state == State::done;
    if (t.state == State::done || places.find(said(t.site)) != std::string::npos) continue;
    places += (places.empty() ? "" : ", ") + said(t.site);
  }
  return "divergent barrier or warp: of block " + said(where.block) + ", " + std::to_string(at_block) +
         " thread(s) wait for the block, " + std::to_string(at_warp) + " for their warp, " + std::to_string(done) +
         " have returned; waiting at " + places;
}

void run_block(Block& block, Schedule how, uint64_t& random) {
  int done = 0;
  block.last = how.order == Order::run_ahead ? 0 : block.count - 1;
  while (done < block.count) {
    Thread* t = next(block, how, random);
    if (!t) throw Fault(stuck(block));
    block.last = t->id;
    block.self = t;
    where.thread = t->index;
    t->fiber.enter();
    if (!block.fault.empty()) throw Fault(block.fault);
    done += t->state == State::done;
  }
}

}  // namespace

void Block::prepare() {
  arrived = 0;
  arrays.clear();
  for (auto& warp : meetings) warp.clear();
  for (int i = 0; i < count; ++i) {
    Thread& t = *threads[i];
    t.state = State::ready;
    t.block_epoch = t.warp_epoch = 0;
    t.copies.clear();
    t.group = 0;
    t.fiber.prepare(&thread_body);
  }
}

void launch(Index blocks, Index threads, size_t dynamic_bytes, void (*body)(const void*), const void* argument) {
  const uint64_t count = uint64_t(threads.x) * threads.y * threads.z;
  if (count < 1 || count > 1024) throw Fault("a block of " + std::to_string(count) + " threads; allowed are 1 to 1024");
  if (uint64_t(blocks.x) * blocks.y * blocks.z < 1 || blocks.x > 0x7fffffffu || blocks.y > 65535 || blocks.z > 65535)
    throw Fault("a grid of " + said(blocks) + " blocks; allowed are 1 to 2^31 - 1, 65535 and 65535");
  if (dynamic_bytes > 227 * 1024)
    throw Fault(std::to_string(dynamic_bytes) + " bytes of dynamic shared memory; a block can have 227 KiB");
  thread_local Block block;
  const Schedule how = schedule();
  uint64_t random = how.seed;
  block.set_threads(threads);
  block.dynamic_bytes = dynamic_bytes;
  block.body = body;
  block.argument = argument;
  block.fault.clear();
  Block* const outer = running;
  running = &block;
  where.threads = threads;
  where.blocks = blocks;
  const uint64_t total = uint64_t(blocks.x) * blocks.y * blocks.z;
  // Blocks come in no order that a kernel may rely on: the schedules differ there as well.
  const uint64_t shift = how.order == Order::random ? next_random(random) % total : 0;
  try {
    for (uint64_t i = 0; i < total; ++i) {
      const uint64_t b = how.order == Order::run_ahead ? total - 1 - i : (i + shift) % total;
      where.block = {unsigned(b % blocks.x), unsigned(b / blocks.x % blocks.y), unsigned(b / blocks.x / blocks.y)};
      block.prepare();
      run_block(block, how, random);
    }
  } catch (...) {
    running = outer;
    throw;
  }
  running = outer;
}

void Block::set_threads(Index shape) {
  count = int(shape.x * shape.y * shape.z);
  while (int(threads.size()) < count) {
    auto t = std::make_unique<Thread>();
    t->id = int(threads.size());
    t->lane = t->id % 32;
    t->warp = t->id / 32;
    threads.push_back(std::move(t));
  }
  meetings.resize(size_t(count + 31) / 32);
  for (int i = 0; i < count; ++i)
    threads[i]->index = {unsigned(i) % shape.x, unsigned(i) / shape.x % shape.y, unsigned(i) / shape.x / shape.y};
}

}  // namespace omniconv::emu
