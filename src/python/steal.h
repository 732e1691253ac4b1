/// What CPython's functions give away: a new reference, or null and an error set.
#pragma once

#include <pthread.h>
#include <pybind11/pybind11.h>

namespace ramet::python {

/// Takes the reference; throws the error.
inline pybind11::object steal(PyObject* object) {
  if (object == nullptr) throw pybind11::error_already_set();
  return pybind11::reinterpret_steal<pybind11::object>(object);
}

/// Around what nests by recursion, as copy.deepcopy does: Python's own limit applies, and one for who raised that,
/// since the stack here is the machine's.
class RecursionGuard {
 public:
  RecursionGuard() {
    if (Py_EnterRecursiveCall(" while cloning plain state") != 0) throw pybind11::error_already_set();
    ++depth_;
    if (depth_ <= most && (depth_ < 64 || has_stack())) return;
    const int depth = depth_;
    leave();
    PyErr_Format(PyExc_RecursionError, "clone: plain state is nested %d deep, for which there is no stack", depth);
    throw pybind11::error_already_set();
  }
  ~RecursionGuard() { leave(); }
  RecursionGuard(const RecursionGuard&) = delete;
  RecursionGuard& operator=(const RecursionGuard&) = delete;

 private:
  static constexpr int most = 4000;

  static void leave() {
    --depth_;
    Py_LeaveRecursiveCall();
  }

  /// Threads may have stacks of any size.
  static bool has_stack() {
#ifdef __GLIBC__
    static thread_local const char* const lowest = [] {
      pthread_attr_t attributes;
      void* address = nullptr;
      std::size_t size = 0;
      if (pthread_getattr_np(pthread_self(), &attributes) != 0) return static_cast<const char*>(nullptr);
      pthread_attr_getstack(&attributes, &address, &size);
      pthread_attr_destroy(&attributes);
      return static_cast<const char*>(address);
    }();
    constexpr std::size_t reserve = 96 << 10;
    return reinterpret_cast<const char*>(__builtin_frame_address(0)) > lowest + reserve;
#else
    return true;
#endif
  }

  static inline thread_local int depth_ = 0;
};

}  // namespace ramet::python
