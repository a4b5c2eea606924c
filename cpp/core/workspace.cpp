// cpp/core/workspace.cpp -- aligned allocation and the per-thread arena.
#include "core/workspace.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>

#include "omniconv/status.hpp"

namespace omniconv {

AlignedBuffer::AlignedBuffer(size_t bytes) {
  if (bytes == 0) return;
  if (bytes <= SIZE_MAX - (kAlignment - 1)) {
    size_ = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    data_ = std::aligned_alloc(kAlignment, size_);
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
