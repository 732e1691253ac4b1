/// Relations of Python models, and what assertions about sharing ask: what two models have in common under any path,
/// and which tensors a selector names.
#include "python/relation.h"

#include <pybind11/stl.h>
#include <ramet/errors.h>
#include <ramet/relation.h>
#include <torch/csrc/autograd/python_variable.h>

#include <algorithm>
#include <sstream>

#include "python/selectors.h"
#include "python/steal.h"
#include "python/ties.h"

namespace ramet::python {
namespace {

/// As torch.equal says; what it cannot compare is not equal. An interrupt goes through.
bool equal_wrappers(const at::Tensor& a, const at::Tensor& b) {
  const py::gil_scoped_acquire gil;
  try {
    const auto wrapped = [](const at::Tensor& it) { return steal(THPVariable_Wrap(it)); };
    return py::module_::import("torch").attr("equal")(wrapped(a), wrapped(b)).cast<bool>();
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_Exception) || error.matches(PyExc_MemoryError)) throw;
    return false;
  }
}

Relation relation(py::handle a, py::handle b) {
  const Walk walk_a = walk(a, {}), walk_b = walk(b, {});
  const py::gil_scoped_release release;  // values are compared
  return Relation(walk_a.graph, walk_b.graph, &equal_wrappers);
}

py::list rows_of(const Relation& relation) {
  py::list result;
  for (const RelationRow& row : relation) result.append(py::make_tuple(row.path, row.word));
  return result;
}

std::string table_of(const Relation& relation) {
  std::ostringstream out;
  out << relation;
  return out.str();
}

/// Each with its kind and its first path on either side; a path is empty for a model itself, None where none leads.
py::list in_common(py::handle a, py::handle b) {
  const Walk walk_a = walk(a, {}), walk_b = walk(b, {});
  const core::Paths paths_a(walk_a.graph), paths_b(walk_b.graph);
  const auto path = [](const core::Paths& paths, core::NodeId node) -> py::object {
    const std::string first = paths.path_of(node);
    return first.empty() && node != 0 ? py::object(py::none()) : py::str(first);
  };
  const char* kinds[] = {"module", "tensor", "storage"};
  py::list result;
  for (const auto& [kind, x, y] : core::in_common(walk_a.graph, walk_b.graph)) {
    result.append(py::make_tuple(kinds[static_cast<int>(kind)], path(paths_a, x), path(paths_b, y)));
  }
  return result;
}

/// Those of `paths` whose tensor the selector names.
std::vector<std::string> named(py::handle source, const py::object& selector, std::vector<std::string> paths) {
  Requests requests;
  requests.modes.emplace_back(core::Mode::share, selector);
  Walk walked = walk(source, {});
  const core::Rules rules = rules_of(walked, requests);
  if (rules.modes.empty()) throw PlanError("clone: there is no selector");
  const std::vector<core::SlotId> slots = core::named_slots(walked.graph, rules);
  const core::Paths known(walked.graph);
  std::erase_if(paths, [&](const std::string& path) {
    const auto place = known.find(path);
    return !place || !std::binary_search(slots.begin(), slots.end(), place->slot);
  });
  return paths;
}

}  // namespace

void bind_relation(py::module_& module) {
  py::class_<Relation>(module, "Relation")
      .def("rows", &rows_of)
      .def("word", &Relation::operator[], py::arg("path"))
      .def(
          "ties_a", [](const Relation& it, const py::type& type) { return tuples_of(it.ties_a(), type); },
          py::arg("type"))
      .def(
          "ties_b", [](const Relation& it, const py::type& type) { return tuples_of(it.ties_b(), type); },
          py::arg("type"))
      .def("__str__", &table_of);
  module.def("relation", &relation, py::arg("a"), py::arg("b"));
  module.def("in_common", &in_common, py::arg("a"), py::arg("b"));
  module.def("named", &named, py::arg("source"), py::arg("selector"), py::arg("paths"));
}

}  // namespace ramet::python
