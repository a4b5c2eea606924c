# cpp/cmake/CheckIsaSymbols.cmake -- test: no object file compiled for an ISA offers its code to other ISAs.
#
# An inline function or template with external linkage becomes a weak symbol. The linker keeps one copy of it for
# the whole library; were that the AVX-512 copy of, say, std::sort, every caller would crash on an AVX2 machine. So a
# weak function in <what>_<isa>.cpp has to carry the namespace <isa> in its name.
#
# cmake -DNM=<nm> -DOBJECTS=<file;...> -DISAS=<isa;...> -P CheckIsaSymbols.cmake
list(JOIN ISAS "|" pattern)
set(checked 0)
set(leaks "")
foreach(object IN LISTS OBJECTS)
  if(NOT object MATCHES "_(${pattern})\\.cpp\\.o$")
    continue()
  endif()
  set(isa "${CMAKE_MATCH_1}")
  math(EXPR checked "${checked} + 1")
  execute_process(COMMAND "${NM}" --demangle --defined-only "${object}"
    OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]* W [^\n]+" weak "${symbols}")
  foreach(symbol IN LISTS weak)
    if(NOT symbol MATCHES "::${isa}::")
      string(APPEND leaks "\n  ${object}:${symbol}")
    endif()
  endforeach()
endforeach()
if(leaks)
  message(FATAL_ERROR "weak functions outside of their ISA's namespace:${leaks}")
endif()
message(STATUS "${checked} object files, no weak function outside of its ISA's namespace")
