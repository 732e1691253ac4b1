/// The built-in containers, item by item.
#include "python/flat.h"

namespace ramet::python {

bool items_are_atomic(PyObject* object, Types& types) {
  if (PyList_CheckExact(object)) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(object); ++i) {
      if (!types.is_atomic(PyList_GET_ITEM(object, i))) return false;
    }
    return true;
  }
  if (PyDict_CheckExact(object)) {
    PyObject *key = nullptr, *value = nullptr;
    for (Py_ssize_t position = 0; PyDict_Next(object, &position, &key, &value);) {
      if (!types.is_atomic(key) || !types.is_atomic(value)) return false;
    }
    return true;
  }
  if (Py_TYPE(object) != &PySet_Type) return false;
  if (PySet_GET_SIZE(object) == 0) return true;
  for (const py::handle value : py::handle(object)) {
    if (!types.is_atomic(value.ptr())) return false;
  }
  return true;
}

py::object copy_of_items(PyObject* object) {
  if (PyList_CheckExact(object)) return steal(PyList_GetSlice(object, 0, PyList_GET_SIZE(object)));
  if (PyDict_CheckExact(object)) return steal(PyDict_Copy(object));
  if (Py_TYPE(object) == &PySet_Type) return steal(PySet_New(PySet_GET_SIZE(object) == 0 ? nullptr : object));
  return {};
}

}  // namespace ramet::python
