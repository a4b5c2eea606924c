// omniconv/omniconv.h -- the C interface, the one whose binary form stays stable within a minor version.
#pragma once

#include <dlpack/dlpack.h>

#include "omniconv/export.hpp"
#include "omniconv/version.h"

#ifdef __cplusplus
extern "C" {
#endif

// Version of the loaded library, "major.minor.patch". Never null; lives as long as the library.
OMNICONV_API const char* omniconv_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif
