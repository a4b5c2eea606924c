// tests/core/test_workspace.cpp -- alignment, nesting, what is kept, and the message of a failed allocation.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "core/workspace.hpp"
#include "omniconv/status.hpp"

namespace omniconv {
namespace {

TEST(Workspace, IsAlignedNestsAndShrinks) {
  Workspace workspace;
  void* first = workspace.reserve(100);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % kAlignment, 0u);
  void* second = workspace.reserve(100);
  EXPECT_NE(first, second);
  workspace.release();
  workspace.release();
  EXPECT_EQ(workspace.reserve(50), first);
  workspace.release();
  workspace.reserve(Workspace::kKeptBytes + 1);
  EXPECT_GT(workspace.held_bytes(), Workspace::kKeptBytes);
  workspace.release();
  EXPECT_LE(workspace.held_bytes(), Workspace::kKeptBytes);
}

// The sanitizers end the program instead of failing such an allocation.
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
TEST(Workspace, NamesTheBytesItCouldNotGet) {
  for (size_t bytes : {SIZE_MAX, SIZE_MAX / 2}) {
    try {
      AlignedBuffer buffer(bytes);
      FAIL() << "allocated " << bytes;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::out_of_memory);
      EXPECT_NE(std::string(error.what()).find(std::to_string(bytes)), std::string::npos) << error.what();
    }
  }
}
#endif

}  // namespace
}  // namespace omniconv
