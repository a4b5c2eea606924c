// bindings/module.cpp -- the module omniconv._core; each family adds its functions in bind_<family>.cpp.
#include <nanobind/nanobind.h>

#include "omniconv/omniconv.hpp"

namespace nb = nanobind;

NB_MODULE(_core, m) {
  m.doc() = "Bindings of libomniconv. Private: use the functions of the package omniconv.";
  m.attr("__version__") = omniconv::version();
}
