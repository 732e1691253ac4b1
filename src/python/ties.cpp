/// Made by no constructor: a named tuple's own takes most of the time of a large catalog. And hidden from garbage
/// collection, to which they would be thousands of young objects: text and numbers refer to nothing.
#include "python/ties.h"

#include "python/collection.h"

namespace ramet::python {

namespace py = pybind11;

namespace {

PyObject* checked(PyObject* object) {
  if (object == nullptr) throw py::error_already_set();
  return object;
}

PyObject* text(const std::string& it) {
  return checked(PyUnicode_DecodeUTF8(it.data(), static_cast<Py_ssize_t>(it.size()), nullptr));
}

py::object names_of(const Tie& tie) {
  const auto count = static_cast<Py_ssize_t>(tie.names.size());
  const auto result = py::reinterpret_steal<py::object>(checked(PyTuple_New(count)));
  for (Py_ssize_t i = 0; i < count; ++i) PyTuple_SET_ITEM(result.ptr(), i, text(tie.names[i]));
  PyObject_GC_UnTrack(result.ptr());
  return result;
}

}  // namespace

py::list tuples_of(std::span<const Tie> ties, const py::type& type) {
  const CollectionPause pause;
  auto* const tuple = reinterpret_cast<PyTypeObject*>(type.ptr());
  py::list result(ties.size());
  py::object kind;
  for (std::size_t i = 0; i < ties.size(); ++i) {
    const auto made = py::reinterpret_steal<py::object>(checked(tuple->tp_alloc(tuple, 3)));
    if (i == 0 || ties[i].kind != ties[i - 1].kind) kind = py::reinterpret_steal<py::object>(text(ties[i].kind));
    PyTuple_SET_ITEM(made.ptr(), 0, kind.inc_ref().ptr());
    PyTuple_SET_ITEM(made.ptr(), 1, names_of(ties[i]).release().ptr());
    PyTuple_SET_ITEM(made.ptr(), 2, checked(PyLong_FromLongLong(ties[i].nbytes)));
    PyObject_GC_UnTrack(made.ptr());
    PyList_SET_ITEM(result.ptr(), static_cast<Py_ssize_t>(i), made.inc_ref().ptr());
  }
  return result;
}

}  // namespace ramet::python
