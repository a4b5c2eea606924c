// tests/core/test_version.cpp -- the library and its headers agree on the version.
#include <gtest/gtest.h>

#include "omniconv/omniconv.hpp"

TEST(Version, LibraryMatchesHeaders) { EXPECT_STREQ(omniconv::version(), OMNICONV_VERSION); }

TEST(Version, TextMatchesParts) {
  const std::string text = std::to_string(OMNICONV_VERSION_MAJOR) + "." + std::to_string(OMNICONV_VERSION_MINOR) + "." +
                           std::to_string(OMNICONV_VERSION_PATCH);
  EXPECT_EQ(text, OMNICONV_VERSION);
}
