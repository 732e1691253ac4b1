/// The walk over Python objects. What only one container refers to needs no place in the identity map, and containers
/// of atomic values that only we can reach need no node: that is most of a module.
#include "python/walk.h"

#include <ramet/errors.h>
#include <torch/csrc/autograd/python_variable.h>

#include <charconv>

namespace ramet::python {
namespace {

using core::NodeId;
using core::NodeKind;
using core::none;
using core::SlotKind;

bool has_weak_references(PyObject* object) {
  const Py_ssize_t offset = Py_TYPE(object)->tp_weaklistoffset;
  if (offset == 0) return false;
  // A negative offset (Python 3.12 on) tells only that there may be some.
  return offset < 0 || *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(object) + offset) != nullptr;
}

class Walker {
 public:
  Walker(Walk& walk, const WalkOptions& options) : walk_(walk), graph_(walk.graph), options_(options) {}

  void run(py::handle source) {
    PyObject* object = source.ptr();
    if (PyTuple_CheckExact(object) || PyList_CheckExact(object) || PyDict_CheckExact(object)) {
      session_.insert(object);
    } else if (!walk_.types.of(Py_TYPE(object)).is_module) {
      throw PlanError("clone: the source is a torch.nn.Module, or a tuple, list or dict of modules, not '" +
                      std::string(Py_TYPE(object)->tp_name) + "'");
    }
    visit(object);
    for (NodeId node = 0; node < graph_.nodes.size(); ++node) expand(node);
    hold_beneath_kept_modules();
  }

 private:
  NodeId visit(PyObject* object);
  NodeId add(PyObject* object);
  void expand(NodeId node);
  void expand_session(NodeId node);
  void expand_module(NodeId node, bool registered_only);
  void expand_dict(NodeId node, PyObject* dict);
  void expand_container(NodeId node);
  void expand_reduced(NodeId node);
  void registered(NodeId owner, SlotKind kind, PyObject* container);
  void add_state(NodeId owner, PyObject* value, uint32_t name);
  void nameless(NodeId owner, PyObject* value);
  void item(NodeId owner, PyObject* key, PyObject* value);
  void element(NodeId owner, Py_ssize_t index, PyObject* value);
  bool is_flat(PyObject* object);
  bool needs_no_node(PyObject* object) { return walk_.types.is_atomic(object) || is_flat(object); }
  void complete_identities();
  void hold_beneath_kept_modules();

  uint32_t name_of(PyObject* key) {
    if (PyUnicode_Check(key)) {
      Py_ssize_t size = 0;
      const char* text = PyUnicode_AsUTF8AndSize(key, &size);
      if (text == nullptr) throw py::error_already_set();
      const std::string_view name(text, size);
      return name.find('.') == name.npos ? graph_.add_name(name) : none;
    }
    return PyLong_CheckExact(key) ? graph_.add_name(py::str(key).cast<std::string>()) : none;
  }

  uint32_t name_of(Py_ssize_t index) {
    std::array<char, 24> text;
    const auto end = std::to_chars(text.data(), text.data() + text.size(), index).ptr;
    return graph_.add_name({text.data(), static_cast<std::size_t>(end - text.data())});
  }

  Walk& walk_;
  core::Graph& graph_;
  const WalkOptions& options_;
  std::unordered_set<PyObject*> session_;  // the containers whose members are the session's
  ska::flat_hash_map<PyObject*, NodeId> identities_;
  bool complete_ = false;  // every node is in identities_, also what only one container refers to
};

NodeId Walker::visit(PyObject* object) {
  const bool reachable_otherwise = complete_ || Py_REFCNT(object) > 1 || has_weak_references(object);
  if (!reachable_otherwise) return add(object);
  if (const auto it = identities_.find(object); it != identities_.end()) return it->second;
  return identities_[object] = add(object);
}

NodeId Walker::add(PyObject* object) {
  const TypeFacts& facts = walk_.types.of(Py_TYPE(object));
  Shape shape = facts.shape;
  if (facts.ask_instance && shape != Shape::leaf && PyObject_HasAttrString(object, "__deepcopy__")) shape = Shape::leaf;
  NodeId node = none;
  if (facts.is_tensor) {
    const at::Tensor& tensor = THPVariable_Unpack(object);
    node = graph_.add_tensor(tensor);
    if (tensor.unsafeGetTensorImpl()->key_set().has(c10::DispatchKey::Python)) shape = Shape::leaf;
    graph_.tensors.back().opaque = shape == Shape::leaf;
  } else {
    node = graph_.add_node(facts.is_module ? NodeKind::module : NodeKind::object, object);
  }
  if (options_.boundary.count(object) != 0) graph_.nodes[node].fate = core::Fate::held;
  if (!session_.empty() && session_.count(object) != 0) shape = Shape::session;
  walk_.items.push_back({py::reinterpret_borrow<py::object>(object), {}, shape});
  return node;
}

void Walker::expand(NodeId node) {
  const Shape shape = walk_.items[node].shape;
  if (shape == Shape::session) return expand_session(node);
  if (graph_.nodes[node].kind == NodeKind::module && shape != Shape::reduced) {
    return expand_module(node, shape == Shape::leaf);
  }
  if (graph_.nodes[node].fate == core::Fate::held) return;
  switch (shape) {
    case Shape::tensor:
    case Shape::plain: {
      PyObject* dict = PyObject_GenericGetDict(walk_.items[node].object.ptr(), nullptr);
      if (dict == nullptr) throw py::error_already_set();
      walk_.items[node].extra = py::reinterpret_steal<py::object>(dict);
      return expand_dict(node, dict);
    }
    case Shape::list:
    case Shape::tuple:
    case Shape::dict:
    case Shape::ordered_dict:
    case Shape::set:
    case Shape::method:
      return expand_container(node);
    case Shape::reduced:
      return expand_reduced(node);
    default:
      return;
  }
}

void Walker::expand_session(NodeId node) {
  const py::object container = walk_.items[node].object;
  const auto member = [&](PyObject* value, uint32_t name) {
    const TypeFacts& facts = walk_.types.of(Py_TYPE(value));
    const bool nested = PyTuple_CheckExact(value) || PyList_CheckExact(value) || PyDict_CheckExact(value);
    if (!facts.is_module && !nested) {
      throw PlanError("clone: a session's members are modules, or tuples, lists and dicts of them, not '" +
                      std::string(Py_TYPE(value)->tp_name) + "'");
    }
    if (walk_.types.is_atomic(value)) return;  // an empty tuple
    if (nested) session_.insert(value);
    const NodeId target = visit(value);
    graph_.add_slot(node, SlotKind::child, name, target);
  };
  PyObject* object = container.ptr();
  if (PyDict_CheckExact(object)) {
    for (const auto& [key, value] : py::reinterpret_borrow<py::dict>(object)) member(value.ptr(), name_of(key.ptr()));
  } else {
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(object); ++i) {
      member(PySequence_Fast_GET_ITEM(object, i), name_of(i));
    }
  }
}

void Walker::expand_module(NodeId node, bool registered_only) {
  static PyObject* const parameters = PyUnicode_InternFromString("_parameters");
  static PyObject* const buffers = PyUnicode_InternFromString("_buffers");
  static PyObject* const modules = PyUnicode_InternFromString("_modules");
  PyObject* object = walk_.items[node].object.ptr();
  const bool getstate = walk_.types.of(Py_TYPE(object)).getstate && !registered_only;
  if (getstate) complete_identities();
  PyObject* dict =
      getstate ? PyObject_CallMethod(object, "__getstate__", nullptr) : PyObject_GenericGetDict(object, nullptr);
  if (dict == nullptr) throw py::error_already_set();
  walk_.items[node].extra = py::reinterpret_steal<py::object>(dict);
  if (!PyDict_CheckExact(dict)) {
    walk_.items[node].shape = Shape::leaf;
    return;
  }
  PyObject *key = nullptr, *value = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(dict, &position, &key, &value);) {
    if (key == parameters) {
      registered(node, SlotKind::parameter, value);
    } else if (key == buffers) {
      registered(node, SlotKind::buffer, value);
    } else if (key == modules) {
      registered(node, SlotKind::child, value);
    } else if (!registered_only && !needs_no_node(value)) {
      add_state(node, value, name_of(key));
    }
  }
}

void Walker::registered(NodeId owner, SlotKind kind, PyObject* container) {
  if (!PyDict_Check(container)) {
    if (walk_.items[owner].shape == Shape::leaf) return;  // a ScriptModule's are views of its own
    throw py::type_error("clone: a module's _parameters, _buffers and _modules must be dicts");
  }
  PyObject *key = nullptr, *value = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(container, &position, &key, &value);) {
    if (value == Py_None) {
      graph_.add_slot(owner, kind, name_of(key), none);
      continue;
    }
    const NodeId target = visit(value);
    graph_.add_slot(owner, kind, name_of(key), target);
  }
}

void Walker::add_state(NodeId owner, PyObject* value, uint32_t name) {
  const NodeId target = visit(value);
  graph_.add_slot(owner, SlotKind::state, name, target);
}

void Walker::nameless(NodeId owner, PyObject* value) {
  if (!needs_no_node(value)) add_state(owner, value, none);
}

void Walker::item(NodeId owner, PyObject* key, PyObject* value) {
  nameless(owner, key);
  if (!needs_no_node(value)) add_state(owner, value, name_of(key));
}

void Walker::element(NodeId owner, Py_ssize_t index, PyObject* value) {
  if (!needs_no_node(value)) add_state(owner, value, name_of(index));
}

// Only its container refers to it and it holds atomic values: a flat copy will do, and no path leads beneath it.
bool Walker::is_flat(PyObject* object) {
  if (options_.every_state || !options_.boundary.empty() || complete_) return false;
  if (Py_REFCNT(object) != 1 || has_weak_references(object)) return false;
  const auto atomic = [&](PyObject* value) { return walk_.types.is_atomic(value); };
  if (PyODict_CheckExact(object)) return PyODict_SIZE(object) == 0;
  if (PyList_CheckExact(object)) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(object); ++i) {
      if (!atomic(PyList_GET_ITEM(object, i))) return false;
    }
    return true;
  }
  if (PyDict_CheckExact(object)) {
    PyObject *key = nullptr, *value = nullptr;
    for (Py_ssize_t position = 0; PyDict_Next(object, &position, &key, &value);) {
      if (!atomic(key) || !atomic(value)) return false;
    }
    return true;
  }
  if (!PySet_Check(object) || Py_TYPE(object) != &PySet_Type) return false;
  for (const py::handle value : py::handle(object)) {
    if (!atomic(value.ptr())) return false;
  }
  return true;
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
      for (const py::handle pair : py::reinterpret_steal<py::list>(PyMapping_Items(object))) {
        item(node, PyTuple_GET_ITEM(pair.ptr(), 0), PyTuple_GET_ITEM(pair.ptr(), 1));
      }
      return;
    case Shape::set:
      for (const py::handle value : held) nameless(node, value.ptr());
      return;
    default:
      return nameless(node, PyMethod_GET_SELF(object));
  }
}

py::object reduce(const py::object& object) {
  const py::object table = py::module_::import("copyreg").attr("dispatch_table");
  const py::object reductor = table.attr("get")(py::type::of(object));
  py::object result = reductor.is_none() ? object.attr("__reduce_ex__")(4) : reductor(object);
  if (py::isinstance<py::str>(result)) return result;
  const auto given = result.cast<py::tuple>();
  const auto part = [&](std::size_t i) { return i < given.size() ? py::object(given[i]) : py::none(); };
  const auto list = [&](std::size_t i) { return part(i).is_none() ? py::object(py::none()) : py::list(part(i)); };
  return py::make_tuple(given[0], given[1], part(2), list(3), list(4));
}

void Walker::expand_reduced(NodeId node) {
  complete_identities();
  py::object result;
  try {
    result = reduce(walk_.items[node].object);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_Exception)) throw;
    const std::string type = Py_TYPE(walk_.items[node].object.ptr())->tp_name;
    graph_.nodes[node].fate = core::Fate::refused;
    graph_.refusals.push_back({node, "an object of type '" + type + "' cannot be copied (" +
                                         py::str(error.value()).cast<std::string>() + ")"});
    return;
  }
  if (py::isinstance<py::str>(result)) {
    walk_.items[node].shape = Shape::atomic;
    return;
  }
  walk_.items[node].extra = result;
  const Reduced reduced(result);
  for (const py::handle value : reduced.args()) nameless(node, value.ptr());
  if (PyDict_CheckExact(reduced.state().ptr())) {
    expand_dict(node, reduced.state().ptr());
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

// User code can hand out what so far only one container referred to.
void Walker::complete_identities() {
  if (std::exchange(complete_, true)) return;
  for (NodeId node = 0; node < walk_.items.size(); ++node) identities_[walk_.items[node].object.ptr()] = node;
}

void Walker::hold_beneath_kept_modules() {
  if (options_.boundary.empty()) return;
  std::vector<NodeId> kept;
  for (NodeId node = 0; node < graph_.nodes.size(); ++node) {
    if (graph_.nodes[node].fate == core::Fate::held && graph_.nodes[node].kind == NodeKind::module)
      kept.push_back(node);
  }
  for (const NodeId module : kept) {
    core::walk_beneath(graph_, module, [&](NodeId node) {
      graph_.nodes[node].fate = core::Fate::held;
      for (const core::Slot& slot : graph_.slots_of(node)) {
        if (slot.target != none && graph_.nodes[slot.target].kind == NodeKind::tensor) {
          graph_.nodes[slot.target].fate = core::Fate::held;
        }
      }
      return true;
    });
  }
}

}  // namespace

Walk walk(py::handle source, const WalkOptions& options) {
  Walk result;
  Walker walker(result, options);
  walker.run(source);
  return result;
}

}  // namespace ramet::python
