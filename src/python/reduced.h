/// What `__reduce_ex__` says of an object, in one form.
///
/// Input: an object that nothing faster can take apart. Output: the callable, arguments, state and items from which
/// copy.deepcopy, too, would put a copy together. Runs user code.
#pragma once

#include <pybind11/pybind11.h>

namespace ramet::python {

namespace py = pybind11;

/// (callable, args, state or None, list of items or None, list of pairs or None, has_slots).
struct Reduced {
  explicit Reduced(py::handle tuple) : parts(py::reinterpret_borrow<py::tuple>(tuple)) {}
  py::tuple args() const { return parts[1]; }
  py::object state() const { return parts[2]; }
  py::object list_items() const { return parts[3]; }
  py::object dict_items() const { return parts[4]; }
  /// Whether the state is a pair of what is in a __dict__ and what is in __slots__, either of which may be None.
  bool has_slots() const { return PyTuple_GET_ITEM(parts.ptr(), 5) == Py_True; }
  py::tuple parts;
};

/// Calls what copy.deepcopy would call. Returns the tuple that Reduced reads, or a str: the object is one of its kind.
py::object reduce(const py::object& object);

}  // namespace ramet::python
