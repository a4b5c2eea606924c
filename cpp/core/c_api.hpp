// core/c_api.hpp -- what every function of the C interface needs: no exception out, DLTensors in
#pragma once

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

inline TensorView array(const DLTensor* tensor, const char* argument, On allowed = On::cpu) {
  return TensorView::from_dlpack(required(tensor, argument), argument, allowed);
}

inline TensorView optional_array(const DLTensor* tensor, const char* argument, On allowed = On::cpu) {
  return tensor ? TensorView::from_dlpack(*tensor, argument, allowed) : TensorView();
}

// What omniconv_set_stream() set for this thread.
void* current_stream() noexcept;

}  // namespace omniconv::c_api
