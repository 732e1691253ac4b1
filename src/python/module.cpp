/// The extension module ramet._C: each function is the pipeline from walk to rebuild. Signatures, documentation and
/// rendering are the Python package's business.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <ramet/errors.h>
#include <ramet/materialize.h>
#include <ramet/memory.h>
#include <ramet/report.h>

#include <sstream>

#include "python/boundary.h"
#include "python/collection.h"
#include "python/initialise.h"
#include "python/inplace.h"
#include "python/rebuild.h"
#include "python/relation.h"
#include "python/selectors.h"
#include "python/ties.h"

namespace ramet::python {
namespace {

Requests requests_of(const py::dict& given) {
  const auto option = [&](std::string_view name) {
    const py::str key(name.data(), name.size());
    return given.contains(key) ? py::object(given[key]) : py::none();
  };
  Requests result;
  if (given.empty()) return result;
  for (const core::Mode mode : {core::Mode::copy, core::Mode::share, core::Mode::alias, core::Mode::lazy,
                                core::Mode::differentiable, core::Mode::init, core::Mode::meta}) {
    const std::string_view name = to_string(mode);
    if (py::object where = option(name); !where.is_none()) result.modes.emplace_back(mode, std::move(where));
  }
  result.keep = option("keep");
  result.freeze = option("freeze");
  result.untie = option("untie");
  result.grads = option("grads");
  result.device = option("device");
  result.dtype = option("dtype");
  result.within = option("within");
  result.memo = option("memo");
  result.initializer = option("initializer");
  return result;
}

WalkOptions walk_options(py::handle source, const Requests& requests, bool drafts) {
  WalkOptions options;
  options.drafts = drafts;
  if (!requests.memo.is_none() && !PyDict_Check(requests.memo.ptr())) {
    throw PlanError("clone: memo is a dict, as copy.deepcopy keeps it, not '" +
                    std::string(Py_TYPE(requests.memo.ptr())->tp_name) + "'");
  }
  if (!requests.memo.is_none()) add_memo(requests.memo, options.boundary);
  if (!requests.within.is_none()) add_outside(source, requests.within, options.boundary);
  add_kept(source, requests.keep, options.boundary);
  return options;
}

/// A walk and its rules, with the plan that they make.
struct Planned {
  Planned(py::handle source, const py::dict& given, bool drafts) : Planned(source, requests_of(given), drafts) {}

  // The walk is made in place: a move of its hash maps allocates, and may not throw.
  Planned(py::handle source, const Requests& requests, bool drafts)
      : walk(python::walk(source, walk_options(source, requests, drafts))) {
    if (!requests.memo.is_none()) walk.memo = requests.memo;
    add_twins(walk, requests.untie);
    rules = rules_of(walk, requests);
    core::Catalog catalog;
    catalog.groups = core::groups(walk.graph);
    plan = core::plan(walk.graph, catalog, rules);
    initializer = requests.initializer;
    for (core::TensorId id = 0; id < walk.graph.tensors.size(); ++id) {
      const bool freeze = plan.tensors[id].freeze != core::none;
      if (walk.graph.tensors[id].opaque && (freeze || plan.grads)) walk.finish[id] = {freeze, plan.grads};
    }
  }

  Walk walk;
  core::Rules rules;
  core::Plan plan;
  py::object initializer;
};

py::list clones(py::handle source, std::size_t n, const py::dict& given) {
  const CollectionPause pause;
  Planned planned(source, given, true);
  std::vector<std::vector<at::Tensor>> tensors;
  {
    const py::gil_scoped_release release;
    tensors = core::materialize(planned.walk.graph, planned.plan, n);
  }
  py::list result(n);
  for (std::size_t i = 0; i < n; ++i) {
    if (!planned.plan.init.empty()) initialise(planned.walk, planned.plan, planned.initializer, tensors[i]);
    result[i] = rebuild(planned.walk, tensors[i], i + 1 == n);
  }
  return result;
}

template <class Error>
void register_error(py::module_& module, const char* name, PyObject* base, const char* doc) {
  static PyObject* type = nullptr;
  type = PyErr_NewExceptionWithDoc((std::string("ramet.") + name).c_str(), doc, base, nullptr);
  if (type == nullptr) throw py::error_already_set();
  module.add_object(name, py::reinterpret_borrow<py::object>(type));
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const Error& error) {
      PyErr_SetString(type, error.what_without_backtrace());
    }
  });
}

template <class Table>
std::string table(const Table& it) {
  std::ostringstream out;
  out << it;
  return out.str();
}

py::object find_tie(const Catalog& catalog, const std::string& path) {
  const Tie* tie = catalog.find(path);
  return tie == nullptr ? py::object(py::none()) : py::int_(tie - &catalog[0]);
}

py::list rows(const Plan& plan) {
  py::list result;
  for (const PlanRow& row : plan) result.append(py::make_tuple(row.path, row.mode, row.why, row.nbytes));
  return result;
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "The engine of ramet; see the package for what each function does.";
  register_error<PlanError>(
      module, "PlanError", PyExc_ValueError,
      "A rule, a selector or a path that cannot be carried out; the message says what to write instead.");
  register_error<UncloneableError>(module, "UncloneableError", PyExc_TypeError,
                                   "Something that cannot be cloned: its path, its type, and keep= as the way out.");
  py::class_<Catalog>(module, "Catalog")
      .def(
          "ties", [](const Catalog& it, const py::type& type) { return tuples_of(it, type); }, py::arg("type"))
      .def("find", &find_tie, py::arg("path"))
      .def("__str__", &table<Catalog>);
  py::class_<Plan>(module, "Plan").def("rows", &rows).def("nbytes", &Plan::nbytes).def("__str__", &table<Plan>);
  module.def("clones", &clones, py::arg("source"), py::arg("n"), py::arg("rules"));
  module.def(
      "catalog", [](py::handle source) { return Catalog(walk(source, {}).graph); }, py::arg("source"));
  module.def(
      "plan",
      [](py::handle source, const py::dict& rules) {
        const Planned planned(source, rules, false);
        return Plan(planned.walk.graph, planned.rules, planned.plan);
      },
      py::arg("source"), py::arg("rules"));
  bind_relation(module);
  module.def("tie", &tie, py::arg("model"), py::arg("paths"));
  module.def("untie", &untie, py::arg("model"), py::arg("paths"));
  module.def("untie_all", &untie_all, py::arg("model"));
  module.def("assign", &assign, py::arg("model"), py::arg("paths"), py::arg("tensors"));
  module.def("memory_stats", [] {
    const memory::Stats it = memory::stats();
    return py::make_tuple(it.in_use, it.cached, it.limit, it.mapped, it.reused);
  });
  module.def("set_memory_limit", &memory::set_limit, py::arg("nbytes"));
  module.def("empty_memory_cache", &memory::empty_cache);
}

}  // namespace ramet::python
