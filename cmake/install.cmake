# What `cmake --install` puts where: for C++ include, lib and lib/cmake/ramet; and, as the component `python`, which a
# plain install leaves out, the same and the extension as the package's own.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ramet-config-version.cmake COMPATIBILITY SameMinorVersion)

# The library, its headers and what find_package(ramet) reads. `torch_root` is where it looks for LibTorch by itself; what
# follows is for every install command.
function(ramet_install name lib include cmake torch_root)
  configure_file(cmake/ramet-config.cmake.in ${PROJECT_BINARY_DIR}/${name}/ramet-config.cmake @ONLY)
  install(TARGETS ramet EXPORT ${name}
          LIBRARY DESTINATION ${lib} ${ARGN}
          FILE_SET HEADERS DESTINATION ${include} ${ARGN})
  install(EXPORT ${name} FILE ramet-targets.cmake NAMESPACE ramet:: DESTINATION ${cmake} ${ARGN})
  install(FILES ${PROJECT_BINARY_DIR}/${name}/ramet-config.cmake ${PROJECT_BINARY_DIR}/ramet-config-version.cmake
                cmake/torch.cmake DESTINATION ${cmake} ${ARGN})
endfunction()

ramet_install(for_cpp ${CMAKE_INSTALL_LIBDIR} ${CMAKE_INSTALL_INCLUDEDIR} ${CMAKE_INSTALL_LIBDIR}/cmake/ramet
              ${RAMET_TORCH_ROOT})
if(RAMET_PYTHON)
  ramet_install(for_python ramet ramet/include ramet/share/cmake/ramet "\${CMAKE_CURRENT_LIST_DIR}/../../../../torch"
                COMPONENT python EXCLUDE_FROM_ALL)
  install(TARGETS _C LIBRARY DESTINATION ramet COMPONENT python EXCLUDE_FROM_ALL)
endif()
