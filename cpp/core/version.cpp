// core/version.cpp -- the version this library was built as.
#include "omniconv/omniconv.h"

extern "C" const char* omniconv_version(void) { return OMNICONV_VERSION; }
