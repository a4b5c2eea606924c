# cpp/cmake/DLPack.cmake -- finds the official dlpack/dlpack.h and places it beside the generated headers.
#
# Searched in this order: OMNICONV_DLPACK_INCLUDE_DIR, the apache-tvm-ffi wheel of the Python in use, the system.
# The header is not kept in this repository; it is installed beside ours, because ours include it.

set(_hints "${OMNICONV_DLPACK_INCLUDE_DIR}")
if(NOT OMNICONV_DLPACK_INCLUDE_DIR)
  find_package(Python 3.10 COMPONENTS Interpreter QUIET)
  if(Python_Interpreter_FOUND)
    execute_process(
      COMMAND "${Python_EXECUTABLE}" -c
        "import importlib.util as u; print(u.find_spec('tvm_ffi').submodule_search_locations[0])"
      OUTPUT_VARIABLE _tvm_ffi OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(_tvm_ffi)
      list(APPEND _hints "${_tvm_ffi}/include")
    endif()
  endif()
endif()

# NO_CACHE: the wheel's path belongs to a build environment that the next configure may no longer have.
unset(_dlpack)
find_path(_dlpack dlpack/dlpack.h PATHS ${_hints} NO_DEFAULT_PATH NO_CACHE)
if(NOT OMNICONV_DLPACK_INCLUDE_DIR)
  find_path(_dlpack dlpack/dlpack.h NO_CACHE)
endif()
if(NOT _dlpack)
  message(FATAL_ERROR "dlpack/dlpack.h was not found. Any one of these provides it:\n"
    "  pip install apache-tvm-ffi            (in the Python that CMake finds)\n"
    "  apt-get install libdlpack-dev\n"
    "  cmake -DOMNICONV_DLPACK_INCLUDE_DIR=<folder that holds dlpack/dlpack.h>")
endif()
configure_file("${_dlpack}/dlpack/dlpack.h" "${PROJECT_BINARY_DIR}/include/dlpack/dlpack.h" COPYONLY)
message(STATUS "DLPack header found in ${_dlpack}")
