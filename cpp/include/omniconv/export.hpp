// omniconv/export.hpp -- which symbols leave the shared library
#pragma once

#if defined(_WIN32) && !defined(OMNICONV_STATIC)
#ifdef OMNICONV_BUILDING
#define OMNICONV_API __declspec(dllexport)
#else
#define OMNICONV_API __declspec(dllimport)
#endif
#else
#define OMNICONV_API __attribute__((visibility("default")))
#endif
