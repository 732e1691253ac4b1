/// Walks Python objects into a Graph.
///
/// Input: a module or a session, and the boundary. Output: a Walk: the graph, and for every node the Python
/// object and how it is cloned. Changes nothing; runs user code only where `__reduce_ex__` or `__getstate__` is the
/// user's. Worklist, not recursion.
#pragma once

#include <ramet/graph.h>

#include <unordered_set>

#include "python/types.h"

namespace ramet::python {

/// The Python side of a node.
struct Item {
  py::object object;
  py::object extra;  ///< A module's or plain object's __dict__ (or state); what `__reduce_ex__` gave; else null.
  Shape shape = Shape::atomic;
  bool weak = false;     ///< Part of hooks: a bound method here does not bring its owner along.
  bool session = false;  ///< A container whose members are the session's.
  bool drafted = false;  ///< `extra` is a draft.
};

/// Where in a draft a slot is. A draft is a `__dict__` for the clone: the source's as the walk met it, with copies of
/// what needs no node, so that only slots are left to fill. Made while the walk has all that at hand: to come back for
/// it took longer than to make it.
struct Place {
  PyObject* dict = nullptr;  ///< The draft, or a dict of registered slots in it; null for a slot in nothing drafted.
  PyObject* key = nullptr;
};

struct Walk {
  core::Graph graph;
  std::vector<Item> items;    ///< By NodeId.
  std::vector<Place> places;  ///< By SlotId; empty if nothing is drafted.
  /// Dicts of registered slots (`_parameters`) in drafts to whose source plain state refers too, and their nodes there.
  ska::flat_hash_map<PyObject*, core::NodeId> registered;
  ska::flat_hash_map<core::NodeId, py::object> replaced;  ///< What a held node's slots get, if not the source's object.
  core::NodeId first_twin = core::none;  ///< From here on nodes stand for objects a second time: untie made them.
  /// What tensors that clone themselves get afterwards: whether to freeze them, and whether to copy their gradient.
  ska::flat_hash_map<core::TensorId, std::pair<bool, bool>> finish;
  bool ran_code = false;  ///< User code has run in the walk, or might: the source may not be what was drafted.
  py::object memo;        ///< The user's, to be read and added to; null if none was given.
  Types types;
};

/// What the clone holds in place of an object at which the walk stops.
struct Held {
  py::object object;
  bool leaf = false;  ///< Nothing beneath it is looked at; of a kept module all beneath is walked, and held too.
};
using Boundary = ska::flat_hash_map<PyObject*, Held>;

struct WalkOptions {
  Boundary boundary;
  bool every_state = false;  ///< A node for every mutable plain object, also where a flat copy would do: for globs.
  bool in_place = false;     ///< Every module by its own __dict__, whatever it says that a copy is made from.
  bool drafts = false;       ///< For a clone: what is to be cloned is drafted.
};

/// The key in a module's __dict__ of what is registered in it.
inline const char* dict_name(core::SlotKind kind) {
  if (kind == core::SlotKind::child) return "_modules";
  return kind == core::SlotKind::parameter ? "_parameters" : "_buffers";
}

/// The names in a module's __dict__ that the walk and rebuild know.
struct ModuleNames {
  PyObject* const parameters = PyUnicode_InternFromString("_parameters");
  PyObject* const buffers = PyUnicode_InternFromString("_buffers");
  PyObject* const modules = PyUnicode_InternFromString("_modules");
  PyObject* const compiled = PyUnicode_InternFromString("_compiled_call_impl");
  PyObject* const deepcopy = PyUnicode_InternFromString("__deepcopy__");

  static const ModuleNames& get() {
    static const ModuleNames names;
    return names;
  }

  /// The one that a key equals, if any, else the key. The keys of a module that was unpickled are other objects.
  PyObject* known(PyObject* key) const {
    if (!PyUnicode_CheckExact(key) || PyUnicode_CHECK_INTERNED(key)) return key;
    for (PyObject* name : {parameters, buffers, modules, compiled}) {
      if (PyUnicode_GET_LENGTH(key) == PyUnicode_GET_LENGTH(name) && PyUnicode_Compare(key, name) == 0) return name;
    }
    return key;
  }
};

/// Walks `source`: a torch.nn.Module, or a session: tuples, lists, dicts and dataclasses of modules, optimizers and
/// tensors. Throws PlanError for anything else.
Walk walk(py::handle source, const WalkOptions& options);

}  // namespace ramet::python
