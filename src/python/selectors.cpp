/// Resolves objects, types and predicates by themselves and leaves paths, globs and kinds to the core.
#include "python/selectors.h"

#include <ramet/errors.h>
#include <ramet/untie.h>
#include <torch/csrc/Device.h>
#include <torch/csrc/Dtype.h>

#include <algorithm>

#include "python/boundary.h"
#include "python/initialise.h"

namespace ramet::python {
namespace {

using core::NodeId;
using core::NodeKind;
using core::none;

bool is_text(py::handle selector) { return py::isinstance<py::str>(selector); }

std::vector<NodeId> nodes_of(const Walk& walk, py::handle object) {
  std::vector<NodeId> result;
  for (NodeId node = 0; node < walk.items.size(); ++node) {
    if (walk.items[node].object.is(object)) result.push_back(node);
  }
  return result;
}

core::Selection select_type(Walk& walk, py::handle type, std::string text) {
  if (type.is(torch_class("torch.nn", "Parameter")))
    return core::select_kind(core::SlotKind::parameter, std::move(text));
  if (type.is(torch_class("torch.nn", "Buffer"))) return core::select_kind(core::SlotKind::buffer, std::move(text));
  if (PyObject_IsSubclass(type.ptr(), torch_class("torch.nn", "Module").ptr()) != 1) {
    throw PlanError("clone: " + text + " is no selector: a type must be nn.Parameter, nn.Buffer or a module type");
  }
  std::vector<NodeId> modules;
  for (NodeId node = 0; node < walk.items.size(); ++node) {
    if (walk.graph.nodes[node].kind == NodeKind::module &&
        PyObject_TypeCheck(walk.items[node].object.ptr(), reinterpret_cast<PyTypeObject*>(type.ptr()))) {
      modules.push_back(node);
    }
  }
  return core::select_type(std::move(modules), std::move(text));
}

core::Selection select(Walk& walk, std::optional<core::Paths>& paths, const std::string& mode, py::handle selector) {
  const std::string text = text_of(selector);
  if (selector.ptr() == Py_True) return core::select_all(text);
  if (is_text(selector)) {
    if (!paths) paths.emplace(walk.graph);
    const auto path = selector.cast<std::string>();
    // Not every value has a node: what there is no path to may be plain state all the same.
    const bool unknown = !paths->find(path) && !core::is_glob(path);
    if (unknown && leads_somewhere(walk.items[0].object, path)) core::refuse_plain_state(text);
    return core::select_path(walk.graph, *paths, path, text);
  }
  if (PyType_Check(selector.ptr())) return select_type(walk, selector, text);
  const TypeFacts& facts = walk.types.of(Py_TYPE(selector.ptr()));
  if (!facts.is_module && !facts.is_tensor && PyCallable_Check(selector.ptr()) != 0) {
    if (!paths) paths.emplace(walk.graph);
    const auto named = [&](std::string_view path, NodeId tensor) {
      const int said = PyObject_IsTrue(selector(py::str(path.data(), path.size()), walk.items[tensor].object).ptr());
      if (said < 0) throw py::error_already_set();
      return said == 1;
    };
    return core::select_if(walk.graph, *paths, named, text);
  }
  if (!facts.is_module && !facts.is_tensor) {
    throw PlanError("clone: " + mode + "=" + text +
                    " is no selector: give True, nn.Parameter, nn.Buffer, a module type, a path, a glob, a module or a "
                    "tensor of the source, a predicate, or a list of these (keep= is for plain objects)");
  }
  const std::vector<NodeId> nodes = nodes_of(walk, selector);
  if (nodes.empty())
    throw PlanError("clone: " + mode + "=" + text + " matches nothing: the source does not hold that object");
  // An untied module or tensor stands for itself several times.
  core::Selection result = core::select_node(walk.graph, nodes[0], text);
  for (std::size_t i = 1; i < nodes.size(); ++i) {
    const core::Selection other = core::select_node(walk.graph, nodes[i], text);
    result.under.insert(result.under.end(), other.under.begin(), other.under.end());
    result.slots.insert(result.slots.end(), other.slots.begin(), other.slots.end());
  }
  return result;
}

bool copies_grads(const py::object& given) {
  if (given.is_none() || given.equal(py::str("drop"))) return false;
  if (given.equal(py::str("copy"))) return true;
  throw PlanError("clone: grads=" + py::repr(given).cast<std::string>() + " is neither \"drop\" nor \"copy\"");
}

at::Device device_of(const py::object& given) {
  const py::object device = torch_class("torch", "device")(given);
  torch_class("torch", "empty")(0, py::arg("device") = device);  // one that is not there is torch's error, and now
  return reinterpret_cast<THPDevice*>(device.ptr())->device;
}

at::ScalarType dtype_of(const py::object& given) {
  if (THPDtype_Check(given.ptr())) {
    const at::ScalarType dtype = reinterpret_cast<THPDtype*>(given.ptr())->scalar_type;
    if (at::isFloatingType(dtype) || at::isComplexType(dtype)) return dtype;
  }
  throw PlanError("clone: dtype=" + py::repr(given).cast<std::string>() +
                  " is no floating or complex torch.dtype, which is what parameters can become");
}

/// Modules that have an initialiser of their own.
std::vector<NodeId> resets_of(const Walk& walk, const core::Rules& rules) {
  std::vector<NodeId> result;
  const auto is_init = [](const core::Rule& rule) { return rule.mode == core::Mode::init; };
  if (rules.initializer || std::none_of(rules.modes.begin(), rules.modes.end(), is_init)) return result;
  for (NodeId node = 0; node < walk.items.size(); ++node) {
    const bool module = walk.graph.nodes[node].kind == NodeKind::module;
    if (module && !initialiser_of(walk.items[node].object).is_none()) result.push_back(node);
  }
  return result;
}

}  // namespace

void add_twins(Walk& walk, const py::object& given) {
  const std::vector<py::object> selectors = listed(given);
  if (selectors.empty()) return;
  const core::Paths paths(walk.graph);
  std::vector<core::Selection> where;
  for (const py::object& selector : selectors) {
    const std::string text = text_of(selector);
    if (selector.ptr() == Py_True) {
      where.push_back(core::select_all_tied(walk.graph, text));
    } else if (is_text(selector)) {
      where.push_back(core::select_tied(walk.graph, paths, selector.cast<std::string>(), text));
    } else {
      throw PlanError("clone: untie=" + text +
                      " is no selector for untie, which names slots: give True, a path or a glob");
    }
  }
  walk.first_twin = static_cast<NodeId>(walk.items.size());
  for (const NodeId original : core::untie(walk.graph, where)) walk.items.emplace_back(walk.items[original]);
}

core::Rules rules_of(Walk& walk, const Requests& requests) {
  core::Rules rules;
  std::optional<core::Paths> paths;
  for (const auto& [mode, given] : requests.modes) {
    for (const py::object& selector : listed(given)) {
      rules.modes.push_back({mode, select(walk, paths, std::string(to_string(mode)), selector)});
    }
  }
  for (const py::object& selector : listed(requests.keep)) {
    core::Selection selection{core::Rank::module, core::SlotKind::parameter, text_of(selector), {}, {}};
    if (is_text(selector)) {
      if (!paths) paths.emplace(walk.graph);
      const auto path = selector.cast<std::string>();
      if (core::is_glob(path)) {
        selection.slots = paths->match(path);
      } else if (const auto place = paths->find(path); place && place->node != none) {
        selection.under = {place->node};
      }
    } else {
      selection.under = nodes_of(walk, selector);
      if (selection.under.empty()) {
        throw PlanError("clone: keep=" + selection.text + " matches nothing: the source does not hold that object");
      }
    }
    rules.keep.push_back(std::move(selection));
  }
  for (const py::object& selector : listed(requests.freeze)) {
    rules.freeze.push_back(select(walk, paths, "freeze", selector));
  }
  rules.grads = copies_grads(requests.grads);
  if (!requests.initializer.is_none() && PyCallable_Check(requests.initializer.ptr()) == 0) {
    throw PlanError("clone: initializer is called with a module, and " + text_of(requests.initializer) + " cannot be");
  }
  rules.initializer = !requests.initializer.is_none();
  rules.resets = resets_of(walk, rules);
  if (!requests.device.is_none()) rules.device = device_of(requests.device);
  if (!requests.dtype.is_none()) rules.dtype = dtype_of(requests.dtype);
  return rules;
}

}  // namespace ramet::python
