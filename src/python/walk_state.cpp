/// Plain state in the walk: containers, what `__reduce_ex__` takes apart, and weak edges.
#include "python/reduced.h"
#include "python/steal.h"
#include "python/walker.h"

namespace ramet::python {

using core::NodeId;
using core::none;
using core::SlotKind;

void Walker::add_state(NodeId owner, PyObject* value, uint32_t name) {
  const NodeId target = visit(value);
  add_slot(owner, SlotKind::state, name, target);
}

void Walker::nameless(NodeId owner, PyObject* value) {
  if (!needs_no_node(value)) add_state(owner, value, none);
}

template <class Key>
void Walker::element(NodeId owner, Key key, PyObject* value) {
  if (!needs_no_node(value)) {
    add_state(owner, value, name_of(key));
  } else if (absent_ != nullptr && value == Py_None) {
    absent_->push_back(name_of(key));
  }
}

void Walker::item(NodeId owner, PyObject* key, PyObject* value) {
  nameless(owner, key);
  element(owner, key, value);
}

// Whether the object itself, and not its class, has a __deepcopy__.
bool Walker::copies_itself(NodeId node, PyObject* dict) {
  if (graph_.nodes[node].fate == core::Fate::held) return false;
  if (PyDict_GetItemWithError(dict, ModuleNames::get().deepcopy) == nullptr) {
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
    return false;
  }
  walk_.items[node].shape = Shape::leaf;
  return true;
}

// Goes on from a copy of the node's __dict__, if that is to be cloned.
bool Walker::draft(NodeId node) {
  if (!options_.drafts || graph_.nodes[node].fate != core::Fate::cloned) return false;
  Item& item = walk_.items[node];
  item.extra = steal(PyDict_Copy(item.extra.ptr()));
  item.drafted = true;
  return true;
}

// True if the entry has got a slot.
bool Walker::attribute(const Owner& owner, PyObject* key, PyObject* value) {
  // Most entries are dicts of hooks that hold none.
  if (!PyODict_CheckExact(value) && walk_.types.is_atomic(value)) {
    if (absent_ != nullptr && value == Py_None) absent_->push_back(name_of(key));
    return false;
  }
  if (is_flat(value, owner.references)) {
    if (owner.drafted()) set_item(owner.dict, key, flat_copy(value).ptr());
    return false;
  }
  const NodeId target = visit(value, owner.references);
  add_slot(owner.node, SlotKind::state, name_of(key), target, owner.drafted() ? Place{owner.dict, key} : Place());
  return true;
}

void Walker::expand_state(NodeId node) {
  switch (walk_.items[node].shape) {
    case Shape::plain:
      walk_.items[node].extra = dict_of(walk_.items[node].object.ptr());
      [[fallthrough]];
    case Shape::tensor: {
      PyObject* dict = walk_.items[node].extra.ptr();
      if (dict == nullptr) return;
      expect_references(dict, 2);
      if (walk_.types.of(Py_TYPE(walk_.items[node].object.ptr())).is_optimizer) return expand_optimizer(node, dict);
      if (walk_.items[node].shape == Shape::plain && copies_itself(node, dict)) return;
      if (walk_.items[node].shape == Shape::plain && draft(node)) dict = walk_.items[node].extra.ptr();
      const Owner owner = owner_of(node);
      for (const auto& [key, value] : gathered(dict)) attribute(owner, key, value);
      return;
    }
    case Shape::weak:
      back_.push_back(node);
      return;
    case Shape::ordered_dict:
      // One with attributes, as a state_dict has, is more than its items.
      if (PyDict_GET_SIZE(dict_of(walk_.items[node].object.ptr()).ptr()) == 0) return expand_container(node);
      walk_.items[node].shape = Shape::reduced;
      return expand_reduced(node);
    case Shape::list:
    case Shape::tuple:
    case Shape::dict:
    case Shape::set:
    case Shape::method:
      return expand_container(node);
    case Shape::reduced:
      return expand_reduced(node);
    default:
      return;
  }
}

void Walker::expand_dict(NodeId node, PyObject* dict) {
  PyObject *key = nullptr, *value = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(dict, &position, &key, &value);) item(node, key, value);
}

void Walker::expand_container(NodeId node) {
  const py::object held = walk_.items[node].object;
  PyObject* object = held.ptr();
  switch (walk_.items[node].shape) {
    case Shape::list:
      for (Py_ssize_t i = 0; i < PyList_GET_SIZE(object); ++i) element(node, i, PyList_GET_ITEM(object, i));
      return;
    case Shape::tuple:
      for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); ++i) element(node, i, PyTuple_GET_ITEM(object, i));
      return;
    case Shape::dict:
      return expand_dict(node, object);
    case Shape::ordered_dict:
      // Its own order, which move_to_end changes, is not that of the dict beneath.
      for (const py::handle pair : steal(PyMapping_Items(object))) {
        item(node, PyTuple_GET_ITEM(pair.ptr(), 0), PyTuple_GET_ITEM(pair.ptr(), 1));
      }
      return;
    case Shape::set:
      for (const py::handle value : held) nameless(node, value.ptr());
      return;
    default:
      if (!walk_.items[node].weak) return nameless(node, PyMethod_GET_SELF(object));
      back_.push_back(node);
  }
}

void Walker::expand_reduced(NodeId node) {
  complete_identities();
  py::object result;
  try {
    result = reduce(walk_.items[node].object);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_Exception) || error.matches(PyExc_MemoryError)) throw;
    if (graph_.nodes[node].fate != core::Fate::held) refuse(node, py::str(error.value()).cast<std::string>());
    return;
  }
  if (py::isinstance<py::str>(result)) {
    walk_.items[node].shape = Shape::atomic;
    return;
  }
  walk_.items[node].extra = result;
  const Reduced reduced(result);
  expand_arguments(node, reduced.args());
  if (reduced.has_slots()) {
    for (const py::handle half : reduced.state()) {
      if (!half.is_none()) expand_dict(node, half.ptr());
    }
  } else if (PyDict_CheckExact(reduced.state().ptr())) {
    const bool optimizer = walk_.types.of(Py_TYPE(walk_.items[node].object.ptr())).is_optimizer;
    optimizer ? expand_optimizer(node, reduced.state().ptr()) : expand_dict(node, reduced.state().ptr());
  } else {
    nameless(node, reduced.state().ptr());
  }
  if (!reduced.list_items().is_none()) {
    Py_ssize_t index = 0;
    for (const py::handle value : reduced.list_items()) element(node, index++, value.ptr());
  }
  if (!reduced.dict_items().is_none()) {
    for (const py::handle pair : reduced.dict_items()) {
      item(node, PyTuple_GET_ITEM(pair.ptr(), 0), PyTuple_GET_ITEM(pair.ptr(), 1));
    }
  }
}

// A named tuple's, after its class, have the names of its fields.
void Walker::expand_arguments(NodeId node, const py::tuple& arguments) {
  const py::object object = walk_.items[node].object;
  const py::object fields = PyTuple_Check(object.ptr()) ? py::getattr(object, "_fields", py::none()) : py::none();
  const bool named = PyTuple_Check(fields.ptr()) && py::len(fields) + 1 == arguments.size();
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const py::object value = arguments[i];
    if (named && i > 0) {
      item(node, PyTuple_GET_ITEM(fields.ptr(), i - 1), value.ptr());
    } else {
      nameless(node, value.ptr());
    }
  }
}

// Weak edges come last: they lead to what has been met otherwise, and nowhere if it has not.
void Walker::add_back_edges() {
  for (const NodeId node : back_) {
    PyObject* object = walk_.items[node].object.ptr();
    py::object owner;
    if (PyMethod_Check(object)) {
      owner = borrow(PyMethod_GET_SELF(object));
    } else {
      owner = referent(object);
    }
    const auto it = identities_.find(owner.ptr());
    if (it != identities_.end()) add_slot(node, SlotKind::back, none, it->second);
  }
}

}  // namespace ramet::python
