// emu/memory.cpp -- shared memory that keeps account, and copies that land at their wait
#include <cstring>

#include "emu/block.hpp"
#include "emu/emu.hpp"

namespace omniconv::emu {
namespace {

constexpr int kSeveral = -2, kAtomic = -3;

bool in_order(const Access& before, const Thread& now) {
  if (before.thread == -1 || before.thread == now.id || before.block_epoch != now.block_epoch) return true;
  return before.warp == now.warp && before.warp_epoch != now.warp_epoch;
}

std::string said(const Array* array, int64_t index) {
  return "element " + std::to_string(index) + " of " + std::to_string(array->count) + " in shared memory";
}

[[noreturn]] __attribute__((noinline)) void unfit(const Array* array, int64_t index, const char* what, Site site) {
  if (index < 0 || index >= int64_t(array->count))
    fault(std::string("out of bounds: ") + what + " of " + said(array, index), site);
  fault(std::string(what) + " of " + said(array, index) + " while a copy to it has not landed", site);
}

inline Element& element(Array* array, int64_t index, const char* what, Site site) {
  if (uint64_t(index) >= array->count || array->elements[index].pending > 0) unfit(array, index, what, site);
  return array->elements[index];
}

[[noreturn]] __attribute__((noinline)) void race(const Array* array, int64_t index, const char* now, const char* before,
                                                 Site site) {
  fault(std::string("race: ") + now + " of " + said(array, index) + " that another thread " + before +
            " without a barrier in between",
        site);
}

Array* make(const void* key, size_t count, size_t item) {
  auto array = std::make_unique<Array>();
  array->key = key;
  array->count = count;
  array->item = item;
  array->memory.assign(count * item + 128, 0xff);  // a NaN in every floating-point type
  array->offset = (128 - reinterpret_cast<uintptr_t>(array->memory.data()) % 128) % 128;
  array->elements.resize(count);
  this_block().arrays.push_back(std::move(array));
  return this_block().arrays.back().get();
}

void note_write(Element& e, const Thread& self) {
  e.written = {self.id, self.warp, self.block_epoch, self.warp_epoch};
  e.read = {};
}

}  // namespace

Array* shared(const void* key, size_t count, size_t item, Site) {
  for (const auto& array : this_block().arrays)
    if (array->key == key) return array.get();
  return make(key, count, item);
}

Array* dynamic_shared(size_t first_byte, size_t count, size_t item, Site site) {
  if (first_byte + count * item > this_block().dynamic_bytes)
    fault("dynamic shared memory: " + std::to_string(count * item) + " bytes from byte " + std::to_string(first_byte) +
              " on; the launch gave " + std::to_string(this_block().dynamic_bytes),
          site);
  // A key that no object has: offsets are smaller than any address.
  const void* key = reinterpret_cast<const void*>(first_byte + 1);
  for (const auto& array : this_block().arrays)
    if (array->key == key && array->item == item) return array.get();
  return make(key, count, item);
}

void check_read(Array* array, int64_t index, int64_t count, Site site) {
  const Thread& self = this_thread();
  for (const int64_t end = index + count; index < end; ++index) {
    Element& e = element(array, index, "a read", site);
    if (e.written.thread == -1) fault("a read of " + said(array, index) + " that nobody wrote", site);
    if (!in_order(e.written, self)) race(array, index, "a read", "wrote", site);
    Access& r = e.read;
    if (r.thread == -1 || r.block_epoch != self.block_epoch) {
      r = {self.id, self.warp, self.block_epoch, self.warp_epoch};
      continue;
    }
    if (r.thread != self.id) r.thread = kSeveral;
    if (r.warp != self.warp) r.warp = kSeveral;
    r.warp_epoch = self.warp_epoch;
  }
}

void check_write(Array* array, int64_t index, int64_t count, Site site) {
  const Thread& self = this_thread();
  for (const int64_t end = index + count; index < end; ++index) {
    Element& e = element(array, index, "a write", site);
    if (!in_order(e.written, self)) race(array, index, "a write", "wrote", site);
    if (!in_order(e.read, self)) race(array, index, "a write", "read", site);
    note_write(e, self);
  }
}

void check_atomic(Array* array, int64_t index, Site site) {
  Element& e = element(array, index, "an atomic operation", site);
  const Thread& self = this_thread();
  if (e.written.thread == -1) fault("an atomic operation on " + said(array, index) + " that nobody wrote", site);
  if ((e.written.thread != kAtomic && !in_order(e.written, self)) || !in_order(e.read, self))
    fault("race: an atomic operation on " + said(array, index) + " without a barrier after plain accesses", site);
  e.written = {kAtomic, kSeveral, self.block_epoch, self.warp_epoch};
}

void copy_async(Array* to, int64_t index, int64_t count, const void* from, Site site) {
  Thread& self = this_thread();
  check_write(to, index, count, site);  // the places must be free now
  for (int64_t i = index; i < index + count; ++i) ++to->elements[i].pending;
  self.copies.push_back({to, index, count, from, self.group});
}

void commit() { ++this_thread().group; }

void wait(int groups_left) {
  Thread& self = this_thread();
  size_t landed = 0;
  for (; landed < self.copies.size() && self.copies[landed].group < self.group - groups_left; ++landed) {
    const Copy& c = self.copies[landed];
    unsigned char* at = c.to->data() + c.index * c.to->item;
    if (c.from)
      std::memcpy(at, c.from, c.count * c.to->item);
    else
      std::memset(at, 0, c.count * c.to->item);
    for (int64_t i = c.index; i < c.index + c.count; ++i) {
      --c.to->elements[i].pending;
      note_write(c.to->elements[i], self);
    }
  }
  self.copies.erase(self.copies.begin(), self.copies.begin() + std::ptrdiff_t(landed));
}

}  // namespace omniconv::emu
