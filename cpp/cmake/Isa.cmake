# cpp/cmake/Isa.cmake -- the one place with -m flags: which ISA levels exist here, and what each one compiles with.
#
# OMNICONV_ISAS             the levels of the target machine's architecture, lowest first
# OMNICONV_ISA_FLAGS_<isa>  the compiler flags of a level; empty means the architecture's baseline
# OMNICONV_ISA_DEFINITIONS  OMNICONV_WITH_<ISA> for each of OMNICONV_ISAS: what baseline code may refer to
#
# Every level repeats the flags of those below it, so a file is compiled for exactly what its name says.

set(OMNICONV_ISAS scalar)
set(OMNICONV_ISA_FLAGS_scalar "")
set(OMNICONV_ALL_ISAS scalar avx2 avx512 avx512vnni amx neon)

set(_arch "${CMAKE_SYSTEM_PROCESSOR}")
if(CMAKE_OSX_ARCHITECTURES)  # cross-building on macOS sets only this one
  set(_arch "${CMAKE_OSX_ARCHITECTURES}")
endif()

if(_arch MATCHES "^(x86_64|AMD64|amd64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
  list(APPEND OMNICONV_ISAS avx2 avx512 avx512vnni amx)
  set(OMNICONV_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c)
  # Compilers prefer 256-bit vectors by default, even with AVX-512 on.
  set(OMNICONV_ISA_FLAGS_avx512 ${OMNICONV_ISA_FLAGS_avx2}
    -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
  set(OMNICONV_ISA_FLAGS_avx512vnni ${OMNICONV_ISA_FLAGS_avx512} -mavx512vnni)
  set(OMNICONV_ISA_FLAGS_amx ${OMNICONV_ISA_FLAGS_avx512vnni} -mavx512bf16 -mamx-tile -mamx-int8 -mamx-bf16)
elseif(_arch MATCHES "^(aarch64|arm64|ARM64)$")
  list(APPEND OMNICONV_ISAS neon)
  set(OMNICONV_ISA_FLAGS_neon "")  # part of the aarch64 baseline
endif()

# For test programs that never leave the machine they are compiled on: without an FMA instruction the emulator would
# call a function for each multiply-add.
include(CheckCXXCompilerFlag)
check_cxx_compiler_flag(-march=native _native)
set(OMNICONV_THIS_MACHINE_FLAGS $<$<BOOL:${_native}>:-march=native>)

if(OMNICONV_NATIVE_ISAS AND _native)
  include(CheckCXXSourceCompiles)
  set(_macro_avx2 __AVX2__)
  set(_macro_avx512 __AVX512BW__)
  set(_macro_avx512vnni __AVX512VNNI__)
  set(_macro_amx __AMX_BF16__)
  foreach(_isa IN LISTS OMNICONV_ISAS)
    if(DEFINED _macro_${_isa})
      set(CMAKE_REQUIRED_FLAGS -march=native)
      check_cxx_source_compiles("#ifndef ${_macro_${_isa}}\n#error\n#endif\nint main() {}" _runs_${_isa})
      unset(CMAKE_REQUIRED_FLAGS)
      if(NOT _runs_${_isa})
        list(REMOVE_ITEM OMNICONV_ISAS ${_isa})
      endif()
    endif()
  endforeach()
endif()

set(OMNICONV_ISA_DEFINITIONS "")
foreach(_isa IN LISTS OMNICONV_ISAS)
  string(TOUPPER "OMNICONV_WITH_${_isa}" _definition)
  list(APPEND OMNICONV_ISA_DEFINITIONS ${_definition})
endforeach()

# omniconv_set_isa(<target> <isa> <absolute file>...)
# Compiles files of <target> for one level. They see OMNICONV_ISA_NS, the namespace their code has to live in: two
# levels' copies of one template must never share a name, or the linker would keep one of them for everybody.
function(omniconv_set_isa target isa)
  if(NOT isa IN_LIST OMNICONV_ISAS)
    message(FATAL_ERROR "omniconv_set_isa: isa '${isa}' is not one of: ${OMNICONV_ISAS}")
  endif()
  set_property(SOURCE ${ARGN} TARGET_DIRECTORY ${target}
    APPEND PROPERTY COMPILE_OPTIONS ${OMNICONV_ISA_FLAGS_${isa}})
  set_property(SOURCE ${ARGN} TARGET_DIRECTORY ${target}
    APPEND PROPERTY COMPILE_DEFINITIONS OMNICONV_ISA_NS=${isa})
  # All levels share one text: undefined behaviour is looked for in one of them, for that takes as long as the rest.
  if(OMNICONV_SANITIZE MATCHES "undefined" AND NOT isa STREQUAL "scalar")
    set_property(SOURCE ${ARGN} TARGET_DIRECTORY ${target} APPEND PROPERTY COMPILE_OPTIONS -fno-sanitize=undefined)
  endif()
endfunction()
