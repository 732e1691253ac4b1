/// Containers of values that the clone may hold as they are: a flat copy will do.
///
/// Input: an object. Output: whether it is one, and its copy. Also the few calls of CPython's API by which dicts are
/// read and written everywhere here.
#pragma once

#include "python/steal.h"
#include "python/types.h"

namespace ramet::python {

inline py::object borrow(PyObject* object) { return py::reinterpret_borrow<py::object>(object); }

/// What a weak reference or a weak proxy refers to; None if that is gone.
inline py::object referent(PyObject* weak) {
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* object = nullptr;
  if (PyWeakref_GetRef(weak, &object) < 0) throw py::error_already_set();
  return object == nullptr ? py::object(py::none()) : steal(object);
#else
  return borrow(PyWeakref_GetObject(weak));
#endif
}

/// A weak reference or a weak proxy, as `like` is, to another object.
inline py::object weak_like(PyObject* like, const py::object& object) {
  const bool proxy = PyWeakref_CheckProxy(like);
  return steal(proxy ? PyWeakref_NewProxy(object.ptr(), nullptr) : PyWeakref_NewRef(object.ptr(), nullptr));
}

inline void set_item(PyObject* dict, PyObject* key, PyObject* value) {
  if (PyDict_SetItem(dict, key, value) != 0) throw py::error_already_set();
}

/// Whether a list, a dict or a set (of exactly the built-in type) holds atomic values only.
bool items_are_atomic(PyObject* object, Types& types);
py::object copy_of_items(PyObject* object);

/// Whether an object is one of these, or an OrderedDict that is empty: most are the dicts of a module's hooks.
inline bool holds_atomic(PyObject* object, Types& types) {
  return PyODict_CheckExact(object) ? PyODict_SIZE(object) == 0 : items_are_atomic(object, types);
}

/// A copy of what `holds_atomic`; null for anything else.
inline py::object flat_copy(PyObject* object) {
  if (PyODict_CheckExact(object)) return PyODict_SIZE(object) == 0 ? steal(PyODict_New()) : py::object();
  return copy_of_items(object);
}

}  // namespace ramet::python
