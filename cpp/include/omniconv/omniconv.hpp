// omniconv/omniconv.hpp -- everything the library offers to C++.
#pragma once

#include "omniconv/context.hpp"
#include "omniconv/conv.hpp"
#include "omniconv/omniconv.h"

namespace omniconv {

// Version of the loaded library, "major.minor.patch".
inline const char* version() noexcept { return omniconv_version(); }

}  // namespace omniconv
