/// Made by the constructor of a named tuple's base: its own takes most of the time of a large catalog.
#include "python/ties.h"

#include <pybind11/stl.h>

#include "python/collection.h"

namespace ramet::python {

namespace py = pybind11;

py::list tuples_of(std::span<const Tie> ties, const py::type& type) {
  const CollectionPause pause;
  py::list result(ties.size());
  for (std::size_t i = 0; i < ties.size(); ++i) {
    const Tie& tie = ties[i];
    const py::tuple fields = py::make_tuple(tie.kind, py::tuple(py::cast(tie.names)), tie.nbytes);
    PyObject* made =
        PyTuple_Type.tp_new(reinterpret_cast<PyTypeObject*>(type.ptr()), py::make_tuple(fields).ptr(), nullptr);
    if (made == nullptr) throw py::error_already_set();
    result[i] = py::reinterpret_steal<py::object>(made);
  }
  return result;
}

}  // namespace ramet::python
