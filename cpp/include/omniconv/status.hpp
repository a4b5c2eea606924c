// omniconv/status.hpp -- the one exception type of the library
#pragma once

#include <stdexcept>
#include <string>

#include "omniconv/export.hpp"

namespace omniconv {

enum class Code { ok, invalid_argument, type_error, not_supported, out_of_memory, internal };

// what() says which argument is wrong, what was found and what is allowed. Exported although it is all inline:
// with hidden type information a catch in another shared object would not recognise it.
class OMNICONV_API Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& message) : std::runtime_error(message), code_(code) {}
  Code code() const noexcept { return code_; }

 private:
  Code code_;
};

}  // namespace omniconv
