/// Makes shells. The property by which a parametrized module computes a tensor is torch's own making, by its own
/// function, since it closes over the module that it is for.
#include "python/shells.h"

namespace ramet::python {

py::object blank(const py::object& source) {
  PyTypeObject* type = Py_TYPE(source.ptr());
  static PyObject* const no_arguments = PyTuple_New(0);
  // object's own __new__ would also make room for attributes, which a __dict__ then replaces.
  const bool plain = type->tp_new == PyBaseObject_Type.tp_new;
  PyObject* made = plain ? type->tp_alloc(type, 0) : type->tp_new(type, no_arguments, nullptr);
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

py::object blank_parametrized(const py::object& source) {
  const py::type type = py::type::of(source);
  const py::list names(source.attr("_modules")["parametrizations"].attr("_modules"));
  py::dict contents;
  for (const auto& [name, value] : py::dict(type.attr("__dict__").attr("copy")())) contents[name] = value;
  for (const char* made_by_python : {"__dict__", "__weakref__", "__slotnames__"}) {
    if (contents.contains(made_by_python)) PyDict_DelItemString(contents.ptr(), made_by_python);
  }
  for (const py::handle name : names) {
    if (contents.contains(name)) PyDict_DelItem(contents.ptr(), name.ptr());
  }
  const py::object own = py::type::of(type)(type.attr("__name__"), type.attr("__bases__"), contents);
  auto* made = reinterpret_cast<PyTypeObject*>(own.ptr());
  const auto shell = py::reinterpret_steal<py::object>(made->tp_new(made, py::tuple().ptr(), nullptr));
  if (!shell) throw py::error_already_set();
  const py::object inject = torch_class("torch.nn.utils.parametrize", "_inject_property");
  for (const py::handle name : names) inject(shell, name);
  return shell;
}

void assign_scripted(const py::object& module, core::SlotKind kind, std::string_view name, const py::object& tensor) {
  const char* slots = kind == core::SlotKind::parameter ? "_parameters" : "_buffers";
  module.attr(slots)[py::str(name.data(), name.size())] = tensor;
}

}  // namespace ramet::python
