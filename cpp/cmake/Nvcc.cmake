# cpp/cmake/Nvcc.cmake -- finds nvcc, and compiles .cu files with it into a plugin.
#
# Searched in this order: OMNICONV_NVCC; the nvidia-cuda-nvcc wheel (with -crt, -runtime and nvidia-nvvm) of the Python in
# use; PATH; the toolkit's usual place. nvcc is called directly, not through CMake's CUDA language: that looks for the
# folders of a toolkit, which the wheels do not have, and nvcc finds its own parts in both.
set(OMNICONV_NVCC "" CACHE FILEPATH "nvcc to build the CUDA plugin with; empty: search for it")

function(omniconv_find_nvcc result)
  set(found "${OMNICONV_NVCC}")
  if(NOT found)
    find_package(Python 3.10 COMPONENTS Interpreter QUIET)
    if(Python_Interpreter_FOUND)
      execute_process(
        COMMAND "${Python_EXECUTABLE}" -c
          "import glob, sysconfig; print(*sorted(glob.glob(sysconfig.get_path('purelib') + '/nvidia/cu*/bin/nvcc')), sep='\\n')"
        OUTPUT_VARIABLE wheels OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
      string(REGEX MATCH "[^\n]+$" found "${wheels}")  # the newest
    endif()
  endif()
  if(NOT found)
    unset(found)  # a search ends at a variable that is set, even to nothing
    find_program(found nvcc HINTS /usr/local/cuda/bin NO_CACHE)
  endif()
  if(NOT found)
    set(found "")
  endif()
  set(${result} "${found}" PARENT_SCOPE)
endfunction()

# omniconv_add_cuda_plugin(<target> <nvcc> <absolute .cu>...)
# A shared library with the static runtime of CUDA: it needs the driver alone, and only when it is used. What ptxas says
# of every kernel goes to <file>.log beside the object.
function(omniconv_add_cuda_plugin target nvcc)
  set(flags -std=c++20 -O3 --fmad=false --expt-relaxed-constexpr -Xfatbin=-compress-all -Xptxas=-v
    -Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wextra)
  # fma() is written where it is meant, as everywhere in this library; so the emulator computes the same bits.
  if(CMAKE_COMPILE_WARNING_AS_ERROR)
    list(APPEND flags -Werror=all-warnings -Xcompiler=-Werror)
  endif()
  foreach(arch IN LISTS OMNICONV_CUDA_ARCHITECTURES)
    if(arch MATCHES "^([0-9]+[af]?)-(real|virtual)$")
      set(kind sm)
      if(CMAKE_MATCH_2 STREQUAL "virtual")
        set(kind compute)
      endif()
      list(APPEND flags "-gencode=arch=compute_${CMAKE_MATCH_1},code=${kind}_${CMAKE_MATCH_1}")
    else()
      message(FATAL_ERROR "OMNICONV_CUDA_ARCHITECTURES: found '${arch}', expected is <number>-real or <number>-virtual")
    endif()
  endforeach()
  set(objects "")
  foreach(source IN LISTS ARGN)
    file(RELATIVE_PATH name "${CMAKE_CURRENT_SOURCE_DIR}" "${source}")
    set(object "${CMAKE_CURRENT_BINARY_DIR}/nvcc/${name}.o")
    get_filename_component(folder "${object}" DIRECTORY)
    file(MAKE_DIRECTORY "${folder}")
    add_custom_command(OUTPUT "${object}"
      COMMAND "${nvcc}" ${flags} -I${CMAKE_CURRENT_SOURCE_DIR} -I${PROJECT_SOURCE_DIR}/cpp
        -I${PROJECT_SOURCE_DIR}/cpp/include -MD -MF "${object}.d" -c "${source}" -o "${object}"
        > "${object}.log" 2>&1 || "(cat" "${object}.log" && "false)"
      DEPENDS "${source}" DEPFILE "${object}.d" COMMENT "Compiling ${name} for CUDA")
    list(APPEND objects "${object}")
  endforeach()
  set(library "${PROJECT_BINARY_DIR}/libomniconv_cuda.so")
  add_custom_command(OUTPUT "${library}"
    COMMAND "${nvcc}" -shared -cudart static ${objects} -o "${library}"
    DEPENDS ${objects} COMMENT "Linking libomniconv_cuda.so" VERBATIM)
  add_custom_target(${target} ALL DEPENDS "${library}")
  install(FILES "${library}" DESTINATION "${CMAKE_INSTALL_LIBDIR}" PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
endfunction()
