/// Resolves paths and globs as the walk would name things: attributes, keys and indexes first, the graph's own paths
/// where these do not lead on.
#include "python/boundary.h"

#include <ramet/errors.h>
#include <ramet/paths.h>

#include <algorithm>

namespace ramet::python {
namespace {

using core::NodeId;
using core::none;

void keep(Boundary& boundary, const py::object& object) { boundary[object.ptr()] = {object, false}; }

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
  auto object = py::reinterpret_borrow<py::object>(source);
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
      if (target != none) keep(boundary, everything.items[target].object);
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
  keep(boundary, object);
}

/// Visits every module registered in `module` at any depth, itself included, but not through what `enter` refuses.
template <class Enter>
void walk_registered(PyObject* module, const Enter& enter) {
  std::unordered_set<PyObject*> met{module};
  std::vector<PyObject*> work{module};
  while (!work.empty()) {
    PyObject* next = work.back();
    work.pop_back();
    if (!enter(next)) continue;
    for (const auto& [name, child] : py::reinterpret_borrow<py::object>(next).attr("_modules").cast<py::dict>()) {
      if (!child.is_none() && met.insert(child.ptr()).second) work.push_back(child.ptr());
    }
  }
}

/// The modules and tensors that a source consists of: itself, or a session's members at any depth.
std::vector<PyObject*> members(py::handle source, Types& types) {
  if (types.of(Py_TYPE(source.ptr())).is_module) return {source.ptr()};
  std::vector<PyObject*> result;
  const Walk walked = walk(source, {});
  for (NodeId node = 0; node < walked.items.size(); ++node) {
    if (!walked.items[node].session) continue;
    for (const core::Slot& slot : walked.graph.slots_of(node)) {
      if (slot.target == none || !core::is_registered(slot.kind)) continue;
      if (!walked.items[slot.target].session) result.push_back(walked.items[slot.target].object.ptr());
    }
  }
  return result;
}

}  // namespace

std::string text_of(py::handle selector) {
  if (py::isinstance<py::str>(selector)) return py::repr(selector).cast<std::string>();
  if (selector.ptr() == Py_True) return "True";
  const auto name = [](py::handle named) { return named.attr("__qualname__").cast<std::string>(); };
  if (PyType_Check(selector.ptr())) {
    const auto module = selector.attr("__module__").cast<std::string>();
    return (module.rfind("torch.nn.", 0) == 0 ? "nn." : "") + name(selector);
  }
  if (PyFunction_Check(selector.ptr())) return "<function " + name(selector) + ">";
  return "<" + name(py::type::of(selector)) + " object>";
}

std::vector<py::object> listed(const py::object& given) {
  if (given.is_none() || given.ptr() == Py_False) return {};
  if (!PyList_Check(given.ptr()) && !PyTuple_Check(given.ptr()) && !PyAnySet_Check(given.ptr())) return {given};
  std::vector<py::object> result;
  for (const py::handle item : given) result.push_back(py::reinterpret_borrow<py::object>(item));
  return result;
}

bool leads_somewhere(py::handle source, const std::string& path) {
  if (resolve(source, path)) return true;
  const Walk everything = walk_every_state(source);
  return core::Paths(everything.graph).find(path).has_value();
}

void add_kept(py::handle source, const py::object& given, Boundary& boundary) {
  Types types;
  for (const py::object& selector : listed(given)) {
    const std::string text = text_of(selector);
    const bool predicate = PyFunction_Check(selector.ptr());
    if (selector.ptr() == Py_True || PyType_Check(selector.ptr()) || predicate) {
      throw PlanError("clone: keep=" + text +
                      " is no selector for keep, which names slots: give a path, a glob or the object");
    }
    if (py::isinstance<py::str>(selector)) {
      keep_text(source, selector, text, types, boundary);
    } else {
      keep(boundary, selector);
    }
  }
}

void add_outside(py::handle source, py::handle root, Boundary& boundary) {
  Types types;
  if (!types.of(Py_TYPE(root.ptr())).is_module) {
    throw PlanError("clone: within=" + text_of(root) + " is no module: give the module that the source is a part of");
  }
  const std::vector<PyObject*> own = members(source, types);
  std::unordered_set<PyObject*> reached;
  walk_registered(root.ptr(), [&](PyObject* module) { return reached.insert(module).second; });
  for (PyObject* module : own) {
    if (reached.count(module) != 0 || types.of(Py_TYPE(module)).is_tensor) continue;
    throw PlanError("clone: within=" + text_of(root) + ": the source (a module of type '" + Py_TYPE(module)->tp_name +
                    "') is not registered in it, at any depth; leave within out, or give the module that holds it");
  }
  walk_registered(root.ptr(), [&](PyObject* module) {
    if (std::find(own.begin(), own.end(), module) != own.end()) return false;
    const auto object = py::reinterpret_borrow<py::object>(module);
    boundary[module] = {object, true};
    for (const char* registered : {"_parameters", "_buffers"}) {
      for (const auto& [name, tensor] : object.attr(registered).cast<py::dict>()) {
        if (!tensor.is_none()) boundary[tensor.ptr()] = {py::reinterpret_borrow<py::object>(tensor), true};
      }
    }
    return true;
  });
  for (PyObject* member : own) boundary.erase(member);
}

void add_memo(const py::dict& memo, Boundary& boundary) {
  for (const auto& [key, value] : memo) {
    if (!PyLong_CheckExact(key.ptr()) || key.equal(py::int_(reinterpret_cast<std::uintptr_t>(memo.ptr())))) continue;
    void* const original = PyLong_AsVoidPtr(key.ptr());
    if (original == nullptr) {
      PyErr_Clear();
      continue;
    }
    boundary[static_cast<PyObject*>(original)] = {py::reinterpret_borrow<py::object>(value), true};
  }
}

}  // namespace ramet::python
