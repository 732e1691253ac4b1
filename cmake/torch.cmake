# ramet::torch, the LibTorch in RAMET_TORCH_ROOT, of version RAMET_TORCH_VERSION; or RAMET_TORCH_ERROR. For Ramet's own
# build, and installed for ramet-config.cmake: then it is the LibTorch of the project that links Ramet.
#
# It is the one that find_package(Torch) has found, or that Torch_DIR or CMAKE_PREFIX_PATH names; else the one that
# RAMET_TORCH_ROOT names, if it is there; else the one inside the Python package `torch` of the interpreter in use.
# torch's own TorchConfig.cmake is not read: with a CUDA build of torch it asks for the whole CUDA toolkit.
if(TARGET ramet::torch)
  return()
endif()

file(TO_CMAKE_PATH "$ENV{CMAKE_PREFIX_PATH}" RAMET_PREFIXES)
find_path(RAMET_TORCH_CMAKE TorchConfigVersion.cmake NO_CACHE NO_DEFAULT_PATH
          HINTS ${Torch_DIR} ${CMAKE_PREFIX_PATH} ${RAMET_PREFIXES} PATH_SUFFIXES Torch share/cmake/Torch)
if(RAMET_TORCH_CMAKE)
  get_filename_component(RAMET_TORCH_ROOT "${RAMET_TORCH_CMAKE}/../../.." ABSOLUTE)
elseif(NOT IS_DIRECTORY "${RAMET_TORCH_ROOT}")
  find_package(Python 3.10 QUIET COMPONENTS Interpreter)
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
    OUTPUT_VARIABLE RAMET_TORCH_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT EXISTS "${RAMET_TORCH_ROOT}/lib/libtorch_cpu.so")
  set(RAMET_TORCH_ERROR "no LibTorch in '${RAMET_TORCH_ROOT}': set Torch_DIR or CMAKE_PREFIX_PATH to one's, or \
Python_EXECUTABLE to an interpreter that has the package torch (with pip, build by --no-build-isolation)")
  return()
endif()

file(STRINGS ${RAMET_TORCH_ROOT}/share/cmake/Torch/TorchConfigVersion.cmake RAMET_TORCH_VERSION REGEX "PACKAGE_VERSION \"")
string(REGEX MATCH "[0-9]+\\.[0-9]+" RAMET_TORCH_VERSION "${RAMET_TORCH_VERSION}")
message(STATUS "LibTorch ${RAMET_TORCH_VERSION}: ${RAMET_TORCH_ROOT}")

add_library(ramet::torch INTERFACE IMPORTED)
target_include_directories(ramet::torch SYSTEM INTERFACE
                           ${RAMET_TORCH_ROOT}/include ${RAMET_TORCH_ROOT}/include/torch/csrc/api/include)
target_compile_definitions(ramet::torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
target_link_libraries(ramet::torch INTERFACE
                      ${RAMET_TORCH_ROOT}/lib/libtorch.so ${RAMET_TORCH_ROOT}/lib/libtorch_cpu.so ${RAMET_TORCH_ROOT}/lib/libc10.so)
