// core/c_api.hpp -- what every function of the C interface needs: no exception out, DLTensors in
#pragma once

#include <algorithm>
#include <cstring>
#include <string>

#include "omniconv/omniconv.h"
#include "omniconv/tensor.hpp"

namespace omniconv::c_api {

// Inside a catch: keeps the message for omniconv_last_error() and translates the exception.
omniconv_status status_of_current_exception() noexcept;

template <class Body>
omniconv_status guarded(Body&& body) noexcept {
  try {
    body();
    return OMNICONV_OK;
  } catch (...) {
    return status_of_current_exception();
  }
}

template <class T>
T& required(T* pointer, const char* argument) {
  if (!pointer) throw Error(Code::invalid_argument, std::string(argument) + " is NULL");
  return *pointer;
}

using On = TensorView::On;
using Types = TensorView::Types;

inline TensorView array(const DLTensor* tensor, const char* argument, On allowed = On::cpu,
                        Types types = Types::floats) {
  return TensorView::from_dlpack(required(tensor, argument), argument, allowed, types);
}

inline TensorView optional_array(const DLTensor* tensor, const char* argument, On allowed = On::cpu) {
  return tensor ? TensorView::from_dlpack(*tensor, argument, allowed) : TensorView();
}

inline constexpr size_t kLargestSize = 4096;  // a larger one was never set

// A struct that opens with its size: what an older caller leaves out is as in `defaults`; a newer one may not ask for
// what this library does not know.
template <class Struct>
Struct read(const Struct* given, const Struct& defaults, const char* name) {
  Struct to = defaults;
  if (!given) return to;
  if (given->size < sizeof to || given->size > kLargestSize)
    throw Error(Code::invalid_argument, "the size of " + std::string(name) + " is " + std::to_string(given->size) +
                                            "; expected is its sizeof, here " + std::to_string(sizeof to));
  const char* bytes = reinterpret_cast<const char*>(given);
  if (std::any_of(bytes + sizeof to, bytes + given->size, [](char c) { return c != 0; }))
    throw Error(Code::not_supported,
                std::string(name) + " sets a member that library version " OMNICONV_VERSION " does not know");
  std::memcpy(static_cast<void*>(&to), given, sizeof to);
  return to;
}

// What omniconv_set_stream() set for this thread.
void* current_stream() noexcept;

}  // namespace omniconv::c_api
