/// As in copy.deepcopy: the class's reductor in copyreg, else `__reduce_ex__`.
#include "python/reduced.h"

namespace ramet::python {
namespace {

bool has_slots(const py::object& object, const py::object& state) {
  if (!PyTuple_CheckExact(state.ptr()) || PyTuple_GET_SIZE(state.ptr()) != 2) return false;
  for (const py::handle half : state) {
    if (!half.is_none() && !PyDict_CheckExact(half.ptr())) return false;
  }
  return !py::hasattr(object, "__setstate__");
}

// dataclasses itself gives a frozen class with slots a state that is a list of values, without their names.
bool has_nameless_fields(py::handle type) {
  const py::handle object(reinterpret_cast<PyObject*>(&PyBaseObject_Type));
  for (const char* name : {"__reduce_ex__", "__reduce__"}) {
    if (!type.attr(name).is(object.attr(name))) return false;
  }
  const py::object getstate = py::getattr(type, "__getstate__", py::none());
  return py::getattr(getstate, "__name__", py::none()).equal(py::str("_dataclass_getstate"));
}

py::object reduce_fields(const py::object& object) {
  const py::object dict = py::getattr(object, "__dict__", py::none());
  py::dict slots;
  for (const py::handle field : py::module_::import("dataclasses").attr("fields")(object)) {
    const py::object name = field.attr("name");
    if (!dict.is_none() && dict.contains(name)) continue;
    if (py::hasattr(object, name)) slots[name] = object.attr(name);
  }
  const py::object make = py::module_::import("copyreg").attr("__newobj__");
  return py::make_tuple(make, py::make_tuple(py::type::of(object)), py::make_tuple(dict, slots), py::none(), py::none(),
                        true);
}

}  // namespace

py::object reduce(const py::object& object) {
  const py::object table = py::module_::import("copyreg").attr("dispatch_table");
  const py::object reductor = table.attr("get")(py::type::of(object));
  if (reductor.is_none() && has_nameless_fields(py::type::of(object))) return reduce_fields(object);
  // The __setstate__ of torch's own generators loses a reference, so that none that it made is ever freed.
  if (std::string_view(Py_TYPE(object.ptr())->tp_name) == "torch._C.Generator") {
    return py::make_tuple(object.attr("clone_state"), py::tuple(), py::none(), py::none(), py::none(), false);
  }
  py::object result = reductor.is_none() ? object.attr("__reduce_ex__")(4) : reductor(object);
  if (py::isinstance<py::str>(result)) return result;
  const auto given = result.cast<py::tuple>();
  const auto part = [&](std::size_t i) { return i < given.size() ? py::object(given[i]) : py::none(); };
  const auto list = [&](std::size_t i) { return part(i).is_none() ? py::object(py::none()) : py::list(part(i)); };
  return py::make_tuple(given[0], given[1], part(2), list(3), list(4), has_slots(object, part(2)));
}

}  // namespace ramet::python
