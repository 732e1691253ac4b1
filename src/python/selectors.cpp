/// Resolves objects and types by themselves and leaves paths, globs and kinds to the core. `keep` is resolved on the
/// live objects, before the walk, since the walk stops at what it names.
#include "python/selectors.h"

#include <ramet/errors.h>

#include <algorithm>

namespace ramet::python {
namespace {

using core::NodeId;
using core::NodeKind;
using core::none;

bool is_text(py::handle selector) { return py::isinstance<py::str>(selector); }

std::string text_of(py::handle selector) {
  if (is_text(selector)) return py::repr(selector).cast<std::string>();
  if (selector.ptr() == Py_True) return "True";
  if (PyType_Check(selector.ptr())) {
    const auto module = selector.attr("__module__").cast<std::string>();
    const auto name = selector.attr("__qualname__").cast<std::string>();
    return (module.rfind("torch.nn.", 0) == 0 ? "nn." : "") + name;
  }
  return "<" + py::type::of(selector).attr("__qualname__").cast<std::string>() + " object>";
}

/// One selector, or a list of them; None and False ask for nothing.
std::vector<py::object> listed(const py::object& given) {
  if (given.is_none() || given.ptr() == Py_False) return {};
  if (!PyList_Check(given.ptr()) && !PyTuple_Check(given.ptr()) && !PyAnySet_Check(given.ptr())) return {given};
  std::vector<py::object> result;
  for (const py::handle item : given) result.push_back(py::reinterpret_borrow<py::object>(item));
  return result;
}

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
    return core::select_path(walk.graph, *paths, selector.cast<std::string>(), text);
  }
  if (PyType_Check(selector.ptr())) return select_type(walk, selector, text);
  const TypeFacts& facts = walk.types.of(Py_TYPE(selector.ptr()));
  if (!facts.is_module && !facts.is_tensor) {
    throw PlanError("clone: " + mode + "=" + text +
                    " is no selector: give True, nn.Parameter, nn.Buffer, a module type, a path, a glob, a module or a "
                    "tensor of the source, or a list of these (keep= is for plain objects)");
  }
  const std::vector<NodeId> nodes = nodes_of(walk, selector);
  if (nodes.empty())
    throw PlanError("clone: " + mode + "=" + text + " matches nothing: the source does not hold that object");
  return core::select_node(walk.graph, nodes[0], text);
}

/// What a slot of a live object holds; null if it has no such slot.
py::object step(py::handle object, const std::string& name) {
  const py::str key(name);
  const bool number = !name.empty() && name.find_first_not_of("0123456789") == name.npos && name.size() < 10;
  if (PyDict_Check(object.ptr())) {
    if (object.contains(key)) return object[key];
    if (number && object.contains(py::int_(std::stol(name)))) return object[py::int_(std::stol(name))];
    return {};
  }
  if (PyList_Check(object.ptr()) || PyTuple_Check(object.ptr())) {
    if (!number || std::stoul(name) >= py::len(object)) return {};
    return object[py::int_(std::stol(name))];
  }
  if (!py::hasattr(object, "__dict__")) return {};
  const py::dict attributes = object.attr("__dict__");
  for (const char* registered : {"_parameters", "_buffers", "_modules"}) {
    if (!attributes.contains(registered)) continue;
    const py::object held = attributes[registered];
    if (PyDict_Check(held.ptr()) && held.contains(key)) return held[key];
  }
  return attributes.contains(key) ? py::object(attributes[key]) : py::object();
}

py::object resolve(py::handle source, const std::string& path) {
  py::object object = py::reinterpret_borrow<py::object>(source);
  for (std::size_t begin = 0; begin <= path.size() && object;) {
    const std::size_t end = std::min(path.find('.', begin), path.size());
    object = step(object, path.substr(begin, end - begin));
    begin = end + 1;
  }
  return object;
}

Walk walk_every_state(py::handle source) {
  WalkOptions options;
  options.every_state = true;
  return walk(source, options);
}

// What a path names where attributes, keys and indexes do not lead on: in __slots__, in a deque. Throws if nothing.
py::object found_by_walk(py::handle source, const std::string& path, const std::string& text) {
  const Walk everything = walk_every_state(source);
  const core::Paths paths(everything.graph);
  if (const auto place = paths.find(path)) {
    return place->node == none ? py::object(py::none()) : everything.items[place->node].object;
  }
  std::string message = "clone: keep=" + text + " matches nothing; the nearest names are ";
  bool first = true;
  for (const std::string& name : paths.nearest(path)) {
    message += (std::exchange(first, false) ? "'" : ", '") + name + "'";
  }
  throw PlanError(message);
}

void keep_text(py::handle source, py::handle selector, const std::string& text, Types& types, Boundary& boundary) {
  const auto path = selector.cast<std::string>();
  if (core::is_glob(path)) {
    const Walk everything = walk_every_state(source);
    const auto matched = core::Paths(everything.graph).match(path);
    for (const core::SlotId slot : matched) {
      const NodeId target = everything.graph.slots[slot].target;
      if (target != none) boundary.insert(everything.items[target].object.ptr());
    }
    if (matched.empty()) found_by_walk(source, path, text);
    return;
  }
  py::object object = resolve(source, path);
  if (!object) object = found_by_walk(source, path, text);
  if (object.is_none()) return;
  if (types.is_atomic(object.ptr())) {
    throw PlanError("clone: keep=" + text + " names a value of type '" + Py_TYPE(object.ptr())->tp_name +
                    "', which cannot change: the clone has the same value either way, and setting one side's would not "
                    "reach the other; put it into an object of its own (a list, a dict) and keep that");
  }
  boundary.insert(object.ptr());
}

}  // namespace

Boundary boundary_of(py::handle source, const py::object& keep) {
  Boundary boundary;
  Types types;
  for (const py::object& selector : listed(keep)) {
    const std::string text = text_of(selector);
    if (selector.ptr() == Py_True || PyType_Check(selector.ptr())) {
      throw PlanError("clone: keep=" + text +
                      " is no selector for keep, which names slots: give a path, a glob or the object");
    }
    if (is_text(selector)) {
      keep_text(source, selector, text, types, boundary);
    } else {
      boundary.insert(selector.ptr());
    }
  }
  return boundary;
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
  return rules;
}

}  // namespace ramet::python
