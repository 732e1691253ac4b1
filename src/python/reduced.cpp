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

}  // namespace

py::object reduce(const py::object& object) {
  const py::object table = py::module_::import("copyreg").attr("dispatch_table");
  const py::object reductor = table.attr("get")(py::type::of(object));
  py::object result = reductor.is_none() ? object.attr("__reduce_ex__")(4) : reductor(object);
  if (py::isinstance<py::str>(result)) return result;
  const auto given = result.cast<py::tuple>();
  const auto part = [&](std::size_t i) { return i < given.size() ? py::object(given[i]) : py::none(); };
  const auto list = [&](std::size_t i) { return part(i).is_none() ? py::object(py::none()) : py::list(part(i)); };
  return py::make_tuple(given[0], given[1], part(2), list(3), list(4), has_slots(object, part(2)));
}

}  // namespace ramet::python
