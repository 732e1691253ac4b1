/// The walk over Python objects. What only one container refers to needs no place in the identity map, and containers
/// of atomic values that only we can reach need no node: that is most of a module.
#include <torch/csrc/autograd/python_variable.h>

#include "core/fetch.h"
#include "python/collection.h"
#include "python/walker.h"

namespace ramet::python {

using core::NodeId;
using core::NodeKind;
using core::none;
using core::SlotKind;

void Walker::run(py::handle source) {
  check_source(source.ptr());
  visit(source.ptr());
  walk_.items[0].session = graph_.nodes[0].kind != NodeKind::module;
  for (NodeId node = 0; node < graph_.nodes.size(); ++node) {
    fetch_ahead(node);
    weak_ = walk_.items[node].weak;
    expand(node);
  }
  check_members();
  follow_parameters();
  add_back_edges();
  if (!graph_.refusals.empty()) state_refusals();
  for (const auto& [container, drafted] : registered_) {
    const auto it = identities_.find(container.ptr());
    if (it != identities_.end()) walk_.registered[drafted] = it->second;
  }
  hold_beneath_kept_modules();
  add_outside_tensors();
  walk_.ran_code = complete_;
}

// What shares bytes with a tensor that stays outside stays tied to it.
void Walker::add_outside_tensors() {
  for (const auto& [object, held] : options_.boundary) {
    const bool outside = held.leaf && held.object.ptr() == object && THPVariable_Check(object);
    if (outside && identities_.find(object) == identities_.end()) open_tensor(visit(object));
  }
}

// A model's objects lie all over memory, and most of the time of a walk would go into waiting for one after the other.
void Walker::fetch_ahead(NodeId node) const {
  const std::vector<Item>& items = walk_.items;
  if (node + 8 < items.size()) {
    // What refers to its __dict__ stands before an object.
    const auto* object = reinterpret_cast<const char*>(items[node + 8].object.ptr());
    __builtin_prefetch(object);
    __builtin_prefetch(object - 32);
  }
  if (node + 4 < items.size() && items[node + 4].shape == Shape::tensor) {
    core::fetch(THPVariable_Unpack(items[node + 4].object.ptr()));
  }
  if (node + 2 < items.size() && items[node + 2].shape == Shape::module) dict_of(items[node + 2].object.ptr());
}

// All values are asked for before the first is looked at. The entries are good until user code runs.
const std::vector<Walker::Entry>& Walker::gathered(PyObject* dict) {
  entries_.resize(PyDict_GET_SIZE(dict));
  std::size_t count = 0;
  PyObject *key = nullptr, *value = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(dict, &position, &key, &value);) {
    core::fetch_lines<2>(value);
    entries_[count++] = {key, value};
  }
  return entries_;
}

// `references`: how many of them are known of, the container's and the draft's.
NodeId Walker::visit(PyObject* object, Py_ssize_t references) {
  const bool reachable_otherwise = complete_ || Py_REFCNT(object) > references || has_weak_references(object);
  if (!reachable_otherwise) return add(object);
  const auto [it, is_new] = identities_.emplace(object, none);
  if (is_new) it->second = add(object);
  return it->second;
}

NodeId Walker::add(PyObject* object) {
  const TypeFacts facts = walk_.types.of(Py_TYPE(object));
  Shape shape = facts.shape;
  NodeId node = none;
  const Held* held = nullptr;
  if (!options_.boundary.empty()) {
    const auto it = options_.boundary.find(object);
    if (it != options_.boundary.end()) held = &it->second;
  }
  if (facts.is_tensor) {
    node = graph_.add_node(NodeKind::tensor, nullptr);
    graph_.nodes[node].tensor = static_cast<core::TensorId>(graph_.tensors.size());
    graph_.tensors.push_back({{}, node});
  } else {
    node = graph_.add_node(facts.is_module ? NodeKind::module : NodeKind::object, object);
  }
  if (held != nullptr) {
    graph_.nodes[node].fate = core::Fate::held;
    if (held->leaf && !facts.is_tensor) shape = Shape::atomic;
    if (held->object.ptr() != object) walk_.replaced[node] = held->object;
  }
  const bool weak = weak_ && (shape == Shape::method || shape == Shape::tuple || is_hook_wrapper(object));
  walk_.items.push_back({py::reinterpret_borrow<py::object>(object), {}, shape, weak});
  return node;
}

// Not when the tensor is met: what it is made of lies all over memory, and by now has been asked for.
void Walker::open_tensor(NodeId node) {
  Item& item = walk_.items[node];
  const auto replaced = walk_.replaced.find(node);
  const bool other = replaced != walk_.replaced.end() && THPVariable_Check(replaced->second.ptr());
  const at::Tensor& value = THPVariable_Unpack(other ? replaced->second.ptr() : item.object.ptr());
  core::Tensor& tensor = graph_.tensors[graph_.nodes[node].tensor];
  tensor.value = value;
  graph_.nodes[node].object = value.unsafeGetTensorImpl();
  if (value.unsafeGetTensorImpl()->key_set().has(c10::DispatchKey::Python)) item.shape = Shape::leaf;
  tensor.opaque = item.shape == Shape::leaf;
  if (item.shape != Shape::tensor) return;
  py::object attributes = dict_of(item.object.ptr());
  if (PyDict_GET_SIZE(attributes.ptr()) != 0) item.extra = std::move(attributes);
}

// Asked before a node is expanded, and not when it is met: while a dict is gone through, no user code may run.
void Walker::ask_for_deepcopy(NodeId node) {
  Item& item = walk_.items[node];
  const bool asked = item.shape == Shape::module || item.shape == Shape::plain || item.shape == Shape::reduced;
  if (!asked || !walk_.types.of(Py_TYPE(item.object.ptr())).ask_instance) return;
  if (PyObject_HasAttrString(item.object.ptr(), "__deepcopy__") != 0) item.shape = Shape::leaf;
}

void Walker::expand(NodeId node) {
  graph_.nodes[node].kind == NodeKind::tensor ? open_tensor(node) : ask_for_deepcopy(node);
  const Shape shape = walk_.items[node].shape;
  if (walk_.items[node].session) return expand_session(node);
  if (shape == Shape::scripted) return expand_scripted(node);
  const bool opened = options_.in_place || (shape != Shape::reduced && shape != Shape::atomic);
  if (graph_.nodes[node].kind == NodeKind::module && opened) {
    return expand_module(node, shape == Shape::leaf && !options_.in_place);
  }
  if (graph_.nodes[node].fate != core::Fate::held) expand_state(node);
}

// Finds the module's __dict__, or what stands for it; true if only what is registered there is gone through.
bool Walker::open_module(NodeId node, bool registered_only) {
  PyObject* object = walk_.items[node].object.ptr();
  const TypeFacts facts = walk_.types.of(Py_TYPE(object));
  if (facts.sharded && graph_.nodes[node].fate == core::Fate::cloned) {
    refuse(node,
           "FSDP has spread its parameters over processes: clone the module before it is sharded, or load a gathered "
           "state_dict into a clone of the module that is not");
    registered_only = true;
  }
  const bool getstate = facts.getstate && !registered_only && !options_.in_place;
  if (getstate) complete_identities();
  walk_.items[node].extra = getstate ? walk_.items[node].object.attr("__getstate__")() : dict_of(object);
  PyObject* dict = walk_.items[node].extra.ptr();
  if (!PyDict_CheckExact(dict) || (getstate && PyDict_Contains(dict, ModuleNames::get().parameters) == 0)) {
    // A state in a form of its own: the module is copied through that, and its tensors by the plan.
    walk_.items[node].shape = Shape::leaf;
    walk_.items[node].extra = dict_of(object);
    registered_only = true;
  } else if (!getstate && !registered_only && !options_.in_place) {
    registered_only = copies_itself(node, dict);
  }
  return registered_only;
}

void Walker::expand_module(NodeId node, bool registered_only) {
  const ModuleNames& names = ModuleNames::get();
  registered_only = open_module(node, registered_only);
  expect_references(walk_.items[node].extra.ptr(), 2);
  if (!registered_only) draft(node);
  PyObject* const dict = walk_.items[node].extra.ptr();
  const Owner owner = owner_of(node);
  bool drop_compiled = false;
  for (const auto& [key, value] : gathered(dict)) {
    PyObject* const name = names.known(key);
    if (name == names.parameters) {
      registered(node, SlotKind::parameter, key, value);
    } else if (name == names.buffers) {
      registered(node, SlotKind::buffer, key, value);
    } else if (name == names.modules) {
      registered(node, SlotKind::child, key, value);
    } else if (name == names.compiled) {
      drop_compiled = walk_.items[node].drafted;
    } else if (!registered_only && attribute(owner, key, value) && is_hooks(key)) {
      walk_.items[graph_.slots.back().target].weak = true;
    }
  }
  if (drop_compiled && PyDict_DelItem(dict, names.compiled) != 0) throw py::error_already_set();
}

void Walker::registered(NodeId owner, SlotKind kind, PyObject* key, PyObject* container) {
  if (!PyDict_Check(container)) {
    throw py::type_error("clone: a module's _parameters, _buffers and _modules must be dicts");
  }
  const bool drafted = walk_.items[owner].drafted;
  expect_references(container, drafted ? 2 : 1);
  PyObject* from = container;
  if (drafted) {
    const py::object copy = copy_of_registered(container);
    from = copy.ptr();
    if (complete_) registered_.emplace_back(borrow(container), from);
    set_item(walk_.items[owner].extra.ptr(), key, from);
  }
  PyObject *name = nullptr, *value = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(from, &position, &name, &value);) {
    const NodeId target = value == Py_None ? none : visit(value, drafted ? 2 : 1);
    add_slot(owner, kind, name_of(name), target, drafted ? Place{from, name} : Place());
  }
}

py::object Walker::copy_of_registered(PyObject* container) {
  if (PyDict_CheckExact(container)) return steal(PyDict_Copy(container));
  if (!PyODict_CheckExact(container)) complete_identities();
  const py::object copy = steal(PyObject_CallMethod(container, "copy", nullptr));
  if (!PyDict_Check(copy.ptr()) || copy.ptr() == container) {
    throw py::type_error("clone: a copy of a module's dict must be a dict of its own");
  }
  return copy;
}

// A ScriptModule's dicts are views of what it holds in C++, where a tensor's Python object has no owner that we see.
void Walker::expand_scripted(NodeId node) {
  complete_identities();
  const py::object module = walk_.items[node].object;
  const std::pair<SlotKind, const char*> kinds[] = {
      {SlotKind::parameter, "_parameters"}, {SlotKind::buffer, "_buffers"}, {SlotKind::child, "_modules"}};
  for (const auto& [kind, name] : kinds) {
    for (const py::handle pair : py::list(module.attr(name).attr("items")())) {
      const NodeId target = visit(PyTuple_GET_ITEM(pair.ptr(), 1));
      add_slot(node, kind, name_of(PyTuple_GET_ITEM(pair.ptr(), 0)), target);
    }
  }
}

// User code can hand out what so far only one container referred to, and so does a second reference to a container.
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

Walk walk(py::handle source, const WalkOptions& options) {
  const CollectionPause pause;  // a collection runs finalizers, and dicts are being gone through
  Walk result;
  Walker walker(result, options);
  walker.run(source);
  return result;
}

}  // namespace ramet::python
