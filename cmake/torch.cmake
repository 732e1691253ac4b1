# ramet::torch and ramet::torch_python: the LibTorch inside the Python package `torch`, of the interpreter in use.
#
# Not torch's own TorchConfig.cmake: with a CUDA build of torch that one asks for the whole CUDA toolkit.
find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
execute_process(
  COMMAND ${Python_EXECUTABLE} -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
  OUTPUT_VARIABLE TORCH_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT TORCH_ROOT)
  message(FATAL_ERROR "${Python_EXECUTABLE} has no package torch. Install it there; with pip, build ramet with "
                      "--no-build-isolation, so that it is built against that one.")
endif()
message(STATUS "LibTorch: ${TORCH_ROOT}")

add_library(ramet_torch INTERFACE)
add_library(ramet::torch ALIAS ramet_torch)
target_include_directories(ramet_torch SYSTEM INTERFACE ${TORCH_ROOT}/include ${TORCH_ROOT}/include/torch/csrc/api/include)
target_compile_definitions(ramet_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
find_library(TORCH_LIBRARY torch PATHS ${TORCH_ROOT}/lib NO_DEFAULT_PATH REQUIRED)
find_library(TORCH_CPU_LIBRARY torch_cpu PATHS ${TORCH_ROOT}/lib NO_DEFAULT_PATH REQUIRED)
find_library(C10_LIBRARY c10 PATHS ${TORCH_ROOT}/lib NO_DEFAULT_PATH REQUIRED)
find_library(TORCH_PYTHON_LIBRARY torch_python PATHS ${TORCH_ROOT}/lib NO_DEFAULT_PATH REQUIRED)
target_link_libraries(ramet_torch INTERFACE ${TORCH_LIBRARY} ${TORCH_CPU_LIBRARY} ${C10_LIBRARY})

# torch's own OpenMP: a second one in the process would have threads of its own.
file(GLOB TORCH_OPENMP ${TORCH_ROOT}/lib/libgomp*.so* ${TORCH_ROOT}/../torch.libs/libgomp*.so*)
find_package(OpenMP COMPONENTS CXX REQUIRED)
add_library(ramet_openmp INTERFACE)
add_library(ramet::openmp ALIAS ramet_openmp)
target_compile_options(ramet_openmp INTERFACE ${OpenMP_CXX_FLAGS})
if(TORCH_OPENMP)
  list(GET TORCH_OPENMP 0 TORCH_OPENMP)
  target_link_libraries(ramet_openmp INTERFACE ${TORCH_OPENMP})
else()
  target_link_libraries(ramet_openmp INTERFACE OpenMP::OpenMP_CXX)
endif()

add_library(ramet_torch_python INTERFACE)
add_library(ramet::torch_python ALIAS ramet_torch_python)
target_link_libraries(ramet_torch_python INTERFACE ramet_torch ${TORCH_PYTHON_LIBRARY})
