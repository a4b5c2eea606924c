// core/c_api.cpp -- the C interface: errors, threads, instruction set
#include "core/c_api.hpp"

#include <cstdio>
#include <new>
#include <vector>

#include "omniconv/context.hpp"

namespace omniconv::c_api {
namespace {

// Of fixed size: keeping a message must not fail, least of all when memory is what is missing.
thread_local char last_error[1024];
thread_local void* stream = nullptr;

omniconv_status keep(omniconv_status status, const char* message) {
  std::snprintf(last_error, sizeof last_error, "%s", message);
  return status;
}

omniconv_status status_of(Code code) {
  switch (code) {
    case Code::ok: return OMNICONV_OK;
    case Code::invalid_argument: return OMNICONV_INVALID_ARGUMENT;
    case Code::type_error: return OMNICONV_TYPE_ERROR;
    case Code::not_supported: return OMNICONV_NOT_SUPPORTED;
    case Code::out_of_memory: return OMNICONV_OUT_OF_MEMORY;
    case Code::internal: return OMNICONV_INTERNAL;
  }
  return OMNICONV_INTERNAL;
}

// The names are literals, so the views end in 0.
std::vector<const char*> isa_names() {
  std::vector<const char*> names;
  for (Isa isa : available_isas()) names.push_back(name(isa).data());
  names.push_back(nullptr);
  return names;
}

}  // namespace

void* current_stream() noexcept { return stream; }

omniconv_status status_of_current_exception() noexcept {
  try {
    throw;
  } catch (const Error& error) {
    return keep(status_of(error.code()), error.what());
  } catch (const std::bad_alloc&) {
    return keep(OMNICONV_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return keep(OMNICONV_INTERNAL, error.what());
  } catch (...) {
    return keep(OMNICONV_INTERNAL, "an exception that is no std::exception");
  }
}

}  // namespace omniconv::c_api

using namespace omniconv;
using c_api::guarded;
using c_api::required;

const char* omniconv_last_error(void) { return c_api::last_error; }

omniconv_status omniconv_get_num_threads(int* threads) {
  return guarded([&] { required(threads, "threads") = num_threads(); });
}

omniconv_status omniconv_set_num_threads(int threads) {
  return guarded([&] { set_num_threads(threads); });
}

void omniconv_set_stream(void* stream) { c_api::stream = stream; }

omniconv_status omniconv_get_isa(const char** isa) {
  return guarded([&] { required(isa, "isa") = name(current_isa()).data(); });
}

omniconv_status omniconv_set_isa(const char* isa) {
  return guarded([&] { set_isa(parse_isa(&required(isa, "isa"))); });
}

const char* const* omniconv_available_isas(void) {
  const char* const* names = nullptr;
  guarded([&] {
    static const std::vector<const char*> all = c_api::isa_names();
    names = all.data();
  });
  return names;
}
