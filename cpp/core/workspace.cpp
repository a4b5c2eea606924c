// cpp/core/workspace.cpp -- aligned allocation and the per-thread arena.
#include "core/workspace.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <cstdlib>
#include <string>

#include "omniconv/status.hpp"

namespace omniconv {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

AlignedBuffer::AlignedBuffer(size_t bytes) {
  if (bytes == 0) return;
  if (bytes <= SIZE_MAX - (kAlignment - 1)) {
    const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
    size_ = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    data_ = std::aligned_alloc(alignment, (size_ + alignment - 1) / alignment * alignment);
#if defined(__linux__)
    // One page table entry per 2 MiB instead of 512: packed weights are read from end to end for every block of pixels.
    if (data_ != nullptr && alignment == kHugePage) madvise(data_, size_, MADV_HUGEPAGE);
#endif
  }
  if (data_ == nullptr)
    throw Error(Code::out_of_memory, "workspace: could not allocate " + std::to_string(bytes) + " bytes");
}

AlignedBuffer::~AlignedBuffer() { std::free(data_); }

void* Workspace::reserve(size_t bytes) {
  if (depth_ == levels_.size()) levels_.emplace_back();
  AlignedBuffer& level = levels_[depth_];
  if (level.size() < bytes) {
    held_ -= level.size();
    level = {};  // first free, then allocate: the two sizes need never exist together
    level = AlignedBuffer(bytes);
    held_ += level.size();
  }
  ++depth_;
  return level.data();
}

void Workspace::release() noexcept {
  AlignedBuffer& level = levels_[--depth_];
  if (held_ <= kKeptBytes) return;
  held_ -= level.size();
  level = {};
}

Workspace& thread_workspace() {
  static thread_local Workspace workspace;
  return workspace;
}

}  // namespace omniconv
