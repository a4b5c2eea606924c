# cpp/cmake/Family.cmake -- adds the sources of a family to the library; the file name decides the ISA.
#
# omniconv_add_family(<family>
#   SOURCES      <file>...               baseline code: no file here may end in _<isa>.cpp
#   ISA_SOURCES  <what>_<isa>.cpp ...    compiled for that ISA; left out where the architecture lacks it)
#
# Called from cpp/<family>/CMakeLists.txt; names are relative to it. Baseline code that names a level's functions does
# so inside #ifdef OMNICONV_WITH_<ISA>: an aarch64 library has no avx2.
function(omniconv_add_family family)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;ISA_SOURCES")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "omniconv_add_family(${family}): unexpected '${arg_UNPARSED_ARGUMENTS}'")
  endif()
  list(JOIN OMNICONV_ALL_ISAS "|" isas)

  foreach(file IN LISTS arg_SOURCES)
    if(file MATCHES "_(${isas})\\.cpp$")
      message(FATAL_ERROR "omniconv_add_family(${family}): ${file} is named for an ISA: list it in ISA_SOURCES")
    endif()
    target_sources(omniconv_objects PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
  endforeach()

  foreach(file IN LISTS arg_ISA_SOURCES)
    if(NOT file MATCHES "_(${isas})\\.cpp$")
      message(FATAL_ERROR "omniconv_add_family(${family}): ${file} does not end in _<isa>.cpp (isa: ${isas})")
    endif()
    set(isa "${CMAKE_MATCH_1}")
    if(isa IN_LIST OMNICONV_ISAS)
      target_sources(omniconv_objects PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
      omniconv_set_isa(omniconv_objects ${isa} "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
    endif()
  endforeach()
endfunction()
