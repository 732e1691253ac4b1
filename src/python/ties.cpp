/// Made by no constructor: a named tuple's own takes most of the time of a large catalog. And hidden from garbage
/// collection, to which they would be thousands of young objects: text and numbers refer to nothing.
#include "python/ties.h"

#include "python/collection.h"
#include "python/steal.h"

namespace ramet::python {

namespace py = pybind11;

namespace {

py::object text(std::string_view it) {
  return steal(PyUnicode_DecodeUTF8(it.data(), static_cast<Py_ssize_t>(it.size()), nullptr));
}

class Tuples {
 public:
  Tuples(std::size_t count, const py::type& type) : made(count), type_(reinterpret_cast<PyTypeObject*>(type.ptr())) {}

  /// `name(i)` is the i-th name.
  template <class Name>
  void add(std::string_view kind, std::size_t count, const Name& name, int64_t nbytes) {
    if (kind != kind_) kind_text_ = text(kind_ = kind);
    const py::object names = steal(PyTuple_New(static_cast<Py_ssize_t>(count)));
    for (std::size_t i = 0; i < count; ++i) {
      PyTuple_SET_ITEM(names.ptr(), static_cast<Py_ssize_t>(i), text(name(i)).release().ptr());
    }
    const py::object tie = steal(type_->tp_alloc(type_, 3));
    PyTuple_SET_ITEM(tie.ptr(), 0, kind_text_.inc_ref().ptr());
    PyTuple_SET_ITEM(tie.ptr(), 1, names.inc_ref().ptr());
    PyTuple_SET_ITEM(tie.ptr(), 2, steal(PyLong_FromLongLong(nbytes)).release().ptr());
    PyObject_GC_UnTrack(names.ptr());
    PyObject_GC_UnTrack(tie.ptr());
    PyList_SET_ITEM(made.ptr(), next_++, tie.inc_ref().ptr());
  }

  py::list made;

 private:
  const CollectionPause pause_;
  PyTypeObject* const type_;
  std::string_view kind_;
  py::object kind_text_;
  Py_ssize_t next_ = 0;
};

}  // namespace

py::list tuples_of(const Catalog& catalog, const py::type& type) {
  Tuples result(catalog.size(), type);
  for (const core::Tie& tie : catalog.by_slot()) {
    const auto name = [&](std::size_t i) { return catalog.paths().path(tie.slots[i]); };
    result.add(core::to_string(tie.kind), tie.slots.size(), name, tie.nbytes);
  }
  return result.made;
}

py::list tuples_of(const std::vector<Tie>& ties, const py::type& type) {
  Tuples result(ties.size(), type);
  for (const Tie& tie : ties) {
    result.add(
        tie.kind, tie.names.size(), [&](std::size_t i) { return std::string_view(tie.names[i]); }, tie.nbytes);
  }
  return result.made;
}

}  // namespace ramet::python
