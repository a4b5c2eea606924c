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

inline TensorView array(const DLTensor* tensor, const char* argument) {
  return TensorView::from_dlpack(required(tensor, argument), argument);
}

inline TensorView optional_array(const DLTensor* tensor, const char* argument) {
  return tensor ? TensorView::from_dlpack(*tensor, argument) : TensorView();
}

}  // namespace omniconv::c_api
