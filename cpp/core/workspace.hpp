// cpp/core/workspace.hpp -- aligned scratch memory: an owning buffer and a reusable arena per thread.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace omniconv {

constexpr size_t kAlignment = 64;  // a cache line, and the widest vector

// Uninitialised memory at a 64-byte boundary, its size rounded up to a multiple of 64. Move only.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t bytes);  // Error(out_of_memory) names the bytes
  ~AlignedBuffer();
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  void* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

// A stack of buffers kept between calls. reserve() and release() nest, so that an operation which runs inside
// another one on the same thread gets memory of its own instead of the caller's.
class Workspace {
 public:
  static constexpr size_t kKeptBytes = size_t{64} << 20;

  // At least `bytes`, uninitialised, 64-byte aligned, valid until the matching release().
  void* reserve(size_t bytes);
  // Gives back the latest reservation; its memory is kept for the next one unless the stack then holds over 64 MiB.
  void release() noexcept;

  size_t held_bytes() const { return held_; }

 private:
  std::vector<AlignedBuffer> levels_;
  size_t depth_ = 0;
  size_t held_ = 0;
};

// The arena of the calling thread.
Workspace& thread_workspace();

// reserve() and release() of the calling thread's arena as a scope.
class ScopedWorkspace {
 public:
  explicit ScopedWorkspace(size_t bytes) : workspace_(thread_workspace()), data_(workspace_.reserve(bytes)) {}
  ~ScopedWorkspace() { workspace_.release(); }
  ScopedWorkspace(const ScopedWorkspace&) = delete;
  ScopedWorkspace& operator=(const ScopedWorkspace&) = delete;

  void* data() const { return data_; }

 private:
  Workspace& workspace_;
  void* data_;
};

}  // namespace omniconv
