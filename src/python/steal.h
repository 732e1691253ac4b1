/// What CPython's functions give away: a new reference, or null and an error set.
#pragma once

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
    if (++depth_ <= most) return;
    leave();
    PyErr_Format(PyExc_RecursionError, "clone: plain state is nested more than %d deep", most);
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

  static inline thread_local int depth_ = 0;
};

}  // namespace ramet::python
