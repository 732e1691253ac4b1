/// Rebuilds in two phases: modules with their tensors and what needs no user code, then everything that may run some.
#include "python/rebuild.h"

#include <torch/csrc/autograd/python_variable.h>

namespace ramet::python {
namespace {

using core::NodeId;
using core::NodeKind;
using core::none;
using core::SlotId;

py::object steal(PyObject* object) {
  if (object == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(object);
}

py::object borrow(PyObject* object) { return py::reinterpret_borrow<py::object>(object); }

void set_item(PyObject* dict, PyObject* key, PyObject* value) {
  if (PyDict_SetItem(dict, key, value) != 0) throw py::error_already_set();
}

[[noreturn]] void changed(PyObject* met) {
  const std::string type = Py_TYPE(met)->tp_name;
  PyErr_Format(
      PyExc_RuntimeError,
      "clone: met an object of type '%s' that was not there before: user code (a __reduce_ex__, __getstate__ or "
      "__deepcopy__) or another thread changed the source while it was being cloned",
      type.c_str());
  throw py::error_already_set();
}

py::object blank(const py::object& source) {
  PyTypeObject* type = Py_TYPE(source.ptr());
  static PyObject* const no_arguments = PyTuple_New(0);
  return steal(type->tp_new(type, no_arguments, nullptr));
}

void set_dict(const py::object& object, const py::object& dict) {
  if (PyObject_GenericSetDict(object.ptr(), dict.ptr(), nullptr) != 0) throw py::error_already_set();
}

/// Plain objects nest by recursion, as in copy.deepcopy; Python's own limit applies.
class RecursionGuard {
 public:
  RecursionGuard() {
    if (Py_EnterRecursiveCall(" while cloning plain state") != 0) throw py::error_already_set();
  }
  ~RecursionGuard() { Py_LeaveRecursiveCall(); }
  RecursionGuard(const RecursionGuard&) = delete;
  RecursionGuard& operator=(const RecursionGuard&) = delete;
};

class Rebuilder {
 public:
  Rebuilder(Walk& walk, const std::vector<at::Tensor>& tensors)
      : walk_(walk), types_(walk.types), tensors_(tensors), made_(walk.items.size()) {}

  py::object run() {
    for (NodeId node = 0; node < walk_.items.size(); ++node) {
      if (is_shell(node)) fill(node);
    }
    for (std::size_t i = 0; i < pending_.size(); ++i) {
      const auto [dict, key, target] = pending_[i];
      set_item(dict.ptr(), key.ptr(), value_of(target).ptr());
    }
    for (const auto& [module, state] : unset_) module.attr("__setstate__")(state);
    return value_of(0);
  }

 private:
  /// The slots of a node, consumed in the walk's order.
  struct Cursor {
    SlotId next, end;
  };
  struct Pending {
    py::object dict, key;
    NodeId target;
  };

  bool is_shell(NodeId node) const {
    return walk_.items[node].shape == Shape::module && walk_.graph.nodes[node].fate == core::Fate::cloned;
  }
  Cursor cursor(NodeId node) const {
    const core::Node& it = walk_.graph.nodes[node];
    return {it.first, it.first + it.count};
  }

  void fill(NodeId node);
  py::object filled(PyObject* container, Cursor& cursor);
  py::object patched(PyObject* dict, Cursor cursor);
  NodeId met(PyObject* value, Cursor& cursor);
  py::object flat_copy(PyObject* value);
  py::object value(PyObject* source, Cursor& cursor);
  const py::object& value_of(NodeId node);
  py::object build(NodeId node);
  py::object build_tensor(NodeId node);
  py::object build_list(NodeId node);
  py::object build_tuple(NodeId node);
  py::object build_dict(NodeId node);
  py::object build_set(NodeId node);
  py::object build_plain(NodeId node);
  py::object build_reduced(NodeId node);
  void set_state(const py::object& object, const py::object& state);
  py::object deepcopy(const py::object& object);
  void remember(NodeId node);
  void fill_dict(py::dict target, PyObject* source, Cursor& cursor);

  Walk& walk_;
  Types& types_;
  const std::vector<at::Tensor>& tensors_;
  std::vector<py::object> made_;  // by NodeId
  std::vector<Pending> pending_;
  std::vector<std::pair<py::object, py::object>> unset_;  // modules whose __setstate__ is still to run, and the state
  py::object memo_;                                       // for copy.deepcopy; made when first asked for
};

void Rebuilder::fill(NodeId node) {
  static PyObject* const names[] = {PyUnicode_InternFromString("_parameters"), PyUnicode_InternFromString("_buffers"),
                                    PyUnicode_InternFromString("_modules")};
  const py::object shell = value_of(node);
  const py::object& source = walk_.items[node].extra;
  const py::object copy = steal(PyDict_Copy(source.ptr()));
  Cursor at = cursor(node);
  PyObject *key = nullptr, *value = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(copy.ptr(), &position, &key, &value);) {
    if (key == names[0] || key == names[1] || key == names[2]) {
      set_item(copy.ptr(), key, filled(value, at).ptr());
    } else if (!types_.is_atomic(value)) {
      const NodeId target = met(value, at);
      if (target == none) {
        set_item(copy.ptr(), key, flat_copy(value).ptr());
      } else if (walk_.graph.nodes[target].kind == NodeKind::object) {
        pending_.push_back({copy, borrow(key), target});
      } else {
        set_item(copy.ptr(), key, value_of(target).ptr());
      }
    }
  }
  static PyObject* const compiled = PyUnicode_InternFromString("_compiled_call_impl");
  if (PyDict_Contains(copy.ptr(), compiled) == 1) PyDict_DelItem(copy.ptr(), compiled);
  if (types_.of(Py_TYPE(shell.ptr())).setstate) {
    unset_.emplace_back(shell, copy);
  } else {
    set_dict(shell, copy);
  }
}

// A module's _parameters, _buffers or _modules.
py::object Rebuilder::filled(PyObject* container, Cursor& at) {
  const py::object copy = PyDict_CheckExact(container) ? steal(PyDict_Copy(container))
                                                       : steal(PyObject_CallMethod(container, "copy", nullptr));
  PyObject *key = nullptr, *value = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(copy.ptr(), &position, &key, &value);) {
    const NodeId target = at.next < at.end ? walk_.graph.slots[at.next].target : none;
    ++at.next;
    if (value == Py_None && target == none) continue;
    if (target == none || walk_.items[target].object.ptr() != value) changed(value);
    if (PyObject_SetItem(copy.ptr(), key, value_of(target).ptr()) != 0) throw py::error_already_set();
  }
  return copy;
}

// The node of what the walk met here; `none` if it needed no node.
NodeId Rebuilder::met(PyObject* value, Cursor& at) {
  if (at.next == at.end) return none;
  const NodeId target = walk_.graph.slots[at.next].target;
  if (target == none || walk_.items[target].object.ptr() != value) return none;
  ++at.next;
  return target;
}

py::object Rebuilder::flat_copy(PyObject* value) {
  if (PyODict_CheckExact(value) && PyODict_SIZE(value) == 0) return steal(PyODict_New());
  if (PyList_CheckExact(value)) return steal(PyList_GetSlice(value, 0, PyList_GET_SIZE(value)));
  if (PyDict_CheckExact(value)) return steal(PyDict_Copy(value));
  if (PyAnySet_CheckExact(value)) return steal(PySet_New(value));
  changed(value);
}

py::object Rebuilder::value(PyObject* source, Cursor& at) {
  if (types_.is_atomic(source)) return borrow(source);
  const NodeId target = met(source, at);
  return target == none ? flat_copy(source) : value_of(target);
}

const py::object& Rebuilder::value_of(NodeId node) {
  if (!made_[node]) {
    py::object built = build(node);
    if (!made_[node]) {
      made_[node] = std::move(built);
      remember(node);
    }
  }
  return made_[node];
}

py::object Rebuilder::build(NodeId node) {
  const Item& item = walk_.items[node];
  if (walk_.graph.nodes[node].fate == core::Fate::held) return item.object;
  if (walk_.graph.nodes[node].kind == NodeKind::tensor) return build_tensor(node);
  if (item.shape == Shape::module) return blank(item.object);
  const RecursionGuard guard;
  switch (item.shape == Shape::session ? types_.of(Py_TYPE(item.object.ptr())).shape : item.shape) {
    case Shape::list:
      return build_list(node);
    case Shape::tuple:
      return build_tuple(node);
    case Shape::dict:
    case Shape::ordered_dict:
      return build_dict(node);
    case Shape::set:
      return build_set(node);
    case Shape::plain:
      return build_plain(node);
    case Shape::reduced:
      return build_reduced(node);
    case Shape::leaf:
      return deepcopy(item.object);
    case Shape::method: {
      Cursor at = cursor(node);
      const py::object self = value(PyMethod_GET_SELF(item.object.ptr()), at);
      return steal(PyMethod_New(PyMethod_GET_FUNCTION(item.object.ptr()), self.ptr()));
    }
    default:
      return item.object;
  }
}

py::object Rebuilder::build_tensor(NodeId node) {
  const Item& item = walk_.items[node];
  const core::TensorId id = walk_.graph.nodes[node].tensor;
  const at::Tensor& tensor = tensors_[id];
  if (!tensor.defined()) return deepcopy(item.object);
  if (tensor.is_same(walk_.graph.tensors[id].value)) return item.object;
  const py::object result = steal(THPVariable_Wrap(tensor, Py_TYPE(item.object.ptr())));
  if (item.extra && PyDict_GET_SIZE(item.extra.ptr()) != 0) {
    made_[node] = result;
    remember(node);
    set_dict(result, patched(item.extra.ptr(), cursor(node)));
  }
  return result;
}

// A copy of an object's __dict__, whose values that need user code come later.
py::object Rebuilder::patched(PyObject* dict, Cursor at) {
  const py::object copy = steal(PyDict_Copy(dict));
  PyObject *key = nullptr, *source = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(copy.ptr(), &position, &key, &source);) {
    if (!types_.is_atomic(source)) set_item(copy.ptr(), key, value(source, at).ptr());
  }
  return copy;
}

py::object Rebuilder::build_list(NodeId node) {
  PyObject* source = walk_.items[node].object.ptr();
  py::list result;
  made_[node] = result;
  remember(node);
  Cursor at = cursor(node);
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(source); ++i) result.append(value(PyList_GET_ITEM(source, i), at));
  return result;
}

py::object Rebuilder::build_tuple(NodeId node) {
  PyObject* source = walk_.items[node].object.ptr();
  py::tuple result(PyTuple_GET_SIZE(source));
  Cursor at = cursor(node);
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(source); ++i) result[i] = value(PyTuple_GET_ITEM(source, i), at);
  return result;
}

py::object Rebuilder::build_dict(NodeId node) {
  const Item& item = walk_.items[node];
  py::object result = PyODict_CheckExact(item.object.ptr()) ? steal(PyODict_New()) : py::object(py::dict());
  made_[node] = result;
  remember(node);
  Cursor at = cursor(node);
  for (const py::handle pair : steal(PyMapping_Items(item.object.ptr()))) {
    const py::object key = value(PyTuple_GET_ITEM(pair.ptr(), 0), at);
    const py::object held = value(PyTuple_GET_ITEM(pair.ptr(), 1), at);
    if (PyObject_SetItem(result.ptr(), key.ptr(), held.ptr()) != 0) throw py::error_already_set();
  }
  return result;
}

py::object Rebuilder::build_set(NodeId node) {
  py::set result;
  made_[node] = result;
  remember(node);
  Cursor at = cursor(node);
  for (const py::handle source : walk_.items[node].object) result.add(value(source.ptr(), at));
  return result;
}

py::object Rebuilder::build_plain(NodeId node) {
  const Item& item = walk_.items[node];
  const py::object result = blank(item.object);
  made_[node] = result;
  remember(node);
  set_dict(result, patched(item.extra.ptr(), cursor(node)));
  return result;
}

py::object Rebuilder::build_reduced(NodeId node) {
  const Reduced reduced(walk_.items[node].extra);
  Cursor at = cursor(node);
  const py::tuple given = reduced.args();
  py::tuple args(given.size());
  for (std::size_t i = 0; i < given.size(); ++i) args[i] = value(py::object(given[i]).ptr(), at);
  const py::object result = steal(PyObject_CallObject(py::object(reduced.parts[0]).ptr(), args.ptr()));
  made_[node] = result;
  remember(node);
  py::object state = reduced.state();
  if (PyDict_CheckExact(state.ptr())) {
    py::dict copy;
    fill_dict(copy, reduced.state().ptr(), at);
    state = copy;
  } else {
    state = value(state.ptr(), at);
  }
  if (!state.is_none()) set_state(result, state);
  if (!reduced.list_items().is_none()) {
    for (const py::handle source : reduced.list_items()) result.attr("append")(value(source.ptr(), at));
  }
  if (!reduced.dict_items().is_none()) {
    for (const py::handle pair : reduced.dict_items()) {
      const py::object key = value(PyTuple_GET_ITEM(pair.ptr(), 0), at);
      result[key] = value(PyTuple_GET_ITEM(pair.ptr(), 1), at);
    }
  }
  return result;
}

void Rebuilder::fill_dict(py::dict target, PyObject* source, Cursor& at) {
  PyObject *key = nullptr, *held = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(source, &position, &key, &held);) {
    const py::object new_key = value(key, at);
    set_item(target.ptr(), new_key.ptr(), value(held, at).ptr());
  }
}

void Rebuilder::set_state(const py::object& object, const py::object& state) {
  if (py::hasattr(object, "__setstate__")) {
    object.attr("__setstate__")(state);
    return;
  }
  py::object dict = state, slots = py::none();
  if (PyTuple_CheckExact(state.ptr()) && PyTuple_GET_SIZE(state.ptr()) == 2) {
    dict = borrow(PyTuple_GET_ITEM(state.ptr(), 0));
    slots = borrow(PyTuple_GET_ITEM(state.ptr(), 1));
  }
  if (!dict.is_none()) object.attr("__dict__").attr("update")(dict);
  if (slots.is_none()) return;
  for (const auto& [name, slot] : slots.cast<py::dict>()) py::setattr(object, name, slot);
}

// For what has a __deepcopy__ of its own: the memo knows all that has been made.
py::object Rebuilder::deepcopy(const py::object& object) {
  if (!memo_) {
    memo_ = py::dict();
    for (NodeId node = 0; node < made_.size(); ++node) {
      if (made_[node]) remember(node);
    }
  }
  return py::module_::import("copy").attr("deepcopy")(object, memo_);
}

void Rebuilder::remember(NodeId node) {
  if (!memo_) return;
  memo_[steal(PyLong_FromVoidPtr(walk_.items[node].object.ptr()))] = made_[node];
}

}  // namespace

py::object rebuild(Walk& walk, const std::vector<at::Tensor>& tensors) { return Rebuilder(walk, tensors).run(); }

}  // namespace ramet::python
