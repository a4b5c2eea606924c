# cpp/cmake/Install.cmake -- library, headers, CMake package and pkg-config file; the wheel carries the same tree.
include(CMakePackageConfigHelpers)

set(_cmakedir "${CMAKE_INSTALL_LIBDIR}/cmake/omniconv")
install(TARGETS omniconv EXPORT omniconvTargets)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/cpp/include/" "${PROJECT_BINARY_DIR}/include/"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(EXPORT omniconvTargets NAMESPACE omniconv:: DESTINATION "${_cmakedir}")

configure_package_config_file("${PROJECT_SOURCE_DIR}/cpp/cmake/omniconvConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/omniconvConfig.cmake" INSTALL_DESTINATION "${_cmakedir}")
# Before 1.0 a new minor version may change the API, so 0.1.x does not stand in for 0.2.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/omniconvConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/omniconvConfig.cmake" "${PROJECT_BINARY_DIR}/omniconvConfigVersion.cmake"
  DESTINATION "${_cmakedir}")

file(RELATIVE_PATH OMNICONV_PC_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
configure_file("${PROJECT_SOURCE_DIR}/cpp/cmake/omniconv.pc.in" "${PROJECT_BINARY_DIR}/omniconv.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/omniconv.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
