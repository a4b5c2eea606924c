// tests/consumer/main.cpp -- uses the C++ interface of an installed omniconv.
#include <cstdio>
#include <cstring>

#include "omniconv/omniconv.hpp"

int main() {
  std::printf("omniconv %s from C++\n", omniconv::version());
  return std::strcmp(omniconv::version(), OMNICONV_VERSION) == 0 ? 0 : 1;
}
