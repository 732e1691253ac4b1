/// What CPython's functions give away: a new reference, or null and an error set.
#pragma once

#include <pybind11/pybind11.h>

namespace ramet::python {

/// Takes the reference; throws the error.
inline pybind11::object steal(PyObject* object) {
  if (object == nullptr) throw pybind11::error_already_set();
  return pybind11::reinterpret_steal<pybind11::object>(object);
}

}  // namespace ramet::python
