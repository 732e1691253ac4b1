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
};

struct Walk {
  core::Graph graph;
  std::vector<Item> items;  ///< By NodeId.
  /// Dicts of registered slots (`_parameters`) to which plain state refers too, and their nodes there.
  ska::flat_hash_map<PyObject*, core::NodeId> registered;
  ska::flat_hash_map<core::NodeId, py::object> replaced;  ///< What a held node's slots get, if not the source's object.
  core::NodeId first_twin = core::none;  ///< From here on nodes stand for objects a second time: untie made them.
  /// What tensors that clone themselves get afterwards: whether to freeze them, and whether to copy their gradient.
  ska::flat_hash_map<core::TensorId, std::pair<bool, bool>> finish;
  py::object memo;  ///< The user's, to be read and added to; null if none was given.
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
};

/// Asks the processor for what a dict holds, ahead of its use.
inline void fetch_values(PyObject* dict) {
  PyObject *key = nullptr, *value = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(dict, &position, &key, &value);) __builtin_prefetch(value);
}

/// Walks `source`: a torch.nn.Module, or a session: tuples, lists, dicts and dataclasses of modules, optimizers and
/// tensors. Throws PlanError for anything else.
Walk walk(py::handle source, const WalkOptions& options);

}  // namespace ramet::python
