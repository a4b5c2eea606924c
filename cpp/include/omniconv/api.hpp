// cpp/include/omniconv/api.hpp -- OMNICONV_API marks what a shared libomniconv exports.
#pragma once

#if defined(_WIN32)
#define OMNICONV_API
#else
#define OMNICONV_API __attribute__((visibility("default")))
#endif
