/// Rebuilds in two phases: modules with their tensors and what needs no user code, then everything that may run some.
#include <torch/csrc/autograd/python_variable.h>

#include <algorithm>

#include "python/rebuilder.h"
#include "python/shells.h"

namespace ramet::python {
namespace {

using core::NodeId;
using core::NodeKind;
using core::none;
using core::SlotId;

[[noreturn]] void changed(PyObject* met) {
  const std::string type = Py_TYPE(met)->tp_name;
  PyErr_Format(
      PyExc_RuntimeError,
      "clone: met an object of type '%s' that was not there before: user code (a __reduce_ex__, __getstate__ or "
      "__deepcopy__) or another thread changed the source while it was being cloned",
      type.c_str());
  throw py::error_already_set();
}

}  // namespace

py::object Rebuilder::run() {
  if (walk_.ran_code) check_source();
  if (takes_drafts_) {
    for (const auto& [dict, node] : walk_.registered) keep(node, borrow(dict));
  }
  for (core::NodeId node = 0; node < walk_.items.size(); ++node) {
    fetch_ahead(node);
    if (is_shell(node)) fill(node);
  }
  make_pending();
  const py::object result = value_of(0);
  for (std::size_t i = 0; i < attributed_.size(); ++i) {
    const core::NodeId node = attributed_[i];
    set_dict(made_[node], patched(walk_.items[node].extra.ptr(), cursor(node)));
  }
  if (walk_.memo) {
    make_memo();
    memo_->keep_alive(walk_.items[0].object);
  }
  return result;
}

// User code in the walk may have put other things where those stood that were drafted before it ran.
void Rebuilder::check_source() const {
  for (NodeId node = 0; node < walk_.items.size(); ++node) {
    if (!is_shell(node) || is_twin(node) || types_.of(Py_TYPE(walk_.items[node].object.ptr())).getstate) continue;
    const py::object dict = steal(PyObject_GenericGetDict(walk_.items[node].object.ptr(), nullptr));
    for (const core::SlotKind kind : {core::SlotKind::parameter, core::SlotKind::buffer, core::SlotKind::child}) {
      PyObject* container = PyDict_GetItemString(dict.ptr(), dict_name(kind));
      if (container != nullptr && PyDict_Check(container)) check_registered(node, kind, container);
    }
  }
}

void Rebuilder::check_registered(NodeId node, core::SlotKind kind, PyObject* container) const {
  const auto slots = walk_.graph.slots_of(node);
  auto slot = slots.begin();
  PyObject *key = nullptr, *value = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(container, &position, &key, &value); ++slot) {
    slot = std::find_if(slot, slots.end(), [&](const core::Slot& it) { return it.kind == kind; });
    if (slot == slots.end()) changed(value);
    const bool same = slot->target == none ? value == Py_None : walk_.items[slot->target].object.ptr() == value;
    if (!same && (slot->target == none || !is_twin(slot->target))) changed(value);
  }
}

// What filling the next modules will touch; see the walk's.
void Rebuilder::fetch_ahead(NodeId node) const {
  if (node + 1 >= walk_.items.size() || !is_shell(node + 1)) return;
  for (const core::Slot& slot : walk_.graph.slots_of(node + 1)) {
    if (slot.target == none) continue;
    __builtin_prefetch(walk_.items[slot.target].object.ptr());
    const core::TensorId tensor = walk_.graph.nodes[slot.target].tensor;
    if (tensor != none) __builtin_prefetch(tensors_[tensor].unsafeGetTensorImpl());
  }
}

void Rebuilder::postpone(const py::object& dict, PyObject* key, NodeId target) {
  pending_.push_back({dict, borrow(key), target});
  if (filling_ != none) unset_[filling_].waits = true;
}

bool Rebuilder::is_ready(NodeId node, int depth) const {
  if (made_[node]) return true;
  const core::Node& it = walk_.graph.nodes[node];
  if (it.fate == core::Fate::held) return true;
  if (it.kind == NodeKind::tensor) return tensors_[it.tensor].defined();
  const Shape shape = walk_.items[node].shape;
  const bool container = shape >= Shape::list && shape <= Shape::set && depth < 2 && walk_.registered.empty();
  if (!container && shape != Shape::method && shape != Shape::weak) return is_shell(node);
  const bool hashes = shape == Shape::dict || shape == Shape::ordered_dict || shape == Shape::set;
  return std::ranges::all_of(walk_.graph.slots_of(node), [&](const core::Slot& slot) {
    if (slot.target == none) return true;
    return is_ready(slot.target, depth + 1) && !(hashes && hashes_itself(slot.target));
  });
}

// A module with a hash of its own is asked for it as a key, and must be complete then.
bool Rebuilder::hashes_itself(NodeId node) const {
  return is_shell(node) && Py_TYPE(walk_.items[node].object.ptr())->tp_hash != PyBaseObject_Type.tp_hash;
}

// Those whose state is complete run before any other user code, which then meets modules that are done.
void Rebuilder::make_pending() {
  set_states();
  for (const Pending& it : pending_) {
    if (PyObject_SetItem(it.dict.ptr(), it.key.ptr(), value_of(it.target).ptr()) != 0) throw py::error_already_set();
  }
  for (Unset& unset : unset_) unset.waits = false;
  set_states();
}

// Runs each __setstate__ that waits for nothing, nor for one of a module within: the inner ones first.
void Rebuilder::set_states() {
  if (unset_.empty()) return;
  std::vector<bool> waits(walk_.items.size());
  for (const Unset& unset : unset_) waits[unset.node] = unset.waits;
  for (NodeId node = waits.size(); node-- > 0;) {
    for (const core::Slot& slot : walk_.graph.slots_of(node)) {
      if (slot.kind == core::SlotKind::child && slot.target != none && waits[slot.target]) waits[node] = true;
    }
  }
  for (std::size_t i = unset_.size(); i-- > 0;) {
    if (waits[unset_[i].node]) continue;
    const py::object state = std::exchange(unset_[i].state, py::object());
    if (state) made_[unset_[i].node].attr("__setstate__")(state);
  }
}

void Rebuilder::fill(NodeId node) {
  const py::object& shell = value_of(node);
  py::object& draft = walk_.items[node].extra;
  const py::object dict = takes_drafts_ ? std::move(draft) : steal(PyDict_Copy(draft.ptr()));
  const bool setstate = types_.of(Py_TYPE(shell.ptr())).setstate;
  filling_ = setstate ? static_cast<uint32_t>(unset_.size()) : none;
  if (setstate) unset_.push_back({node, dict, false});
  takes_drafts_ ? fill_places(node, true) : fill_copy(node, dict);
  if (!setstate) set_dict(shell, dict);
}

// What a draft still holds of the source's. `waits`: for what needs user code, until that may run.
void Rebuilder::fill_places(NodeId node, bool waits) {
  const core::Node& it = walk_.graph.nodes[node];
  for (SlotId id = it.first; id < it.first + it.count; ++id) {
    const NodeId target = walk_.graph.slots[id].target;
    const Place& place = walk_.places[id];
    if (target == none || place.dict == nullptr) continue;
    if (waits && !is_ready(target)) {
      postpone(borrow(place.dict), place.key, target);
      continue;
    }
    const py::object& made = value_of(target);
    if (made.ptr() == walk_.items[target].object.ptr()) continue;  // it is there already
    if (PyDict_CheckExact(place.dict)) {
      set_item(place.dict, place.key, made.ptr());
    } else if (PyObject_SetItem(place.dict, place.key, made.ptr()) != 0) {
      throw py::error_already_set();
    }
  }
}

void Rebuilder::fill_copy(NodeId node, const py::object& copy) {
  const ModuleNames& names = ModuleNames::get();
  Cursor at = cursor(node);
  PyObject *key = nullptr, *value = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(copy.ptr(), &position, &key, &value);) {
    PyObject* const name = names.known(key);
    if (name == names.parameters || name == names.buffers || name == names.modules) {
      set_item(copy.ptr(), key, filled(value, at).ptr());
    } else if (!types_.is_atomic(value)) {
      const NodeId target = met(value, at);
      if (target == none) {
        set_item(copy.ptr(), key, flat_copy_of(value).ptr());
      } else if (is_ready(target)) {
        set_item(copy.ptr(), key, value_of(target).ptr());
      } else {
        postpone(copy, key, target);
      }
    }
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
    if (!is_ready(target)) {
      postpone(copy, key, target);
    } else if (PyObject_SetItem(copy.ptr(), key, value_of(target).ptr()) != 0) {
      throw py::error_already_set();
    }
  }
  if (!walk_.registered.empty()) {
    const auto it = walk_.registered.find(container);
    if (it != walk_.registered.end() && !made_[it->second]) keep(it->second, copy);
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

py::object Rebuilder::flat_copy_of(PyObject* value) {
  py::object result = flat_copy(value);
  if (!result) changed(value);
  return result;
}

py::object Rebuilder::value(PyObject* source, Cursor& at) {
  if (types_.is_atomic(source)) return borrow(source);
  const NodeId target = met(source, at);
  return target == none ? flat_copy_of(source) : value_of(target);
}

const py::object& Rebuilder::value_of(NodeId node) {
  if (!made_[node]) {
    py::object built = copied_by_user_code(node);
    if (!built) built = build(node);
    if (!made_[node]) keep(node, std::move(built));
  }
  return made_[node];
}

py::object Rebuilder::build(NodeId node) {
  const Item& item = walk_.items[node];
  if (walk_.graph.nodes[node].fate == core::Fate::held) return held(node);
  if (walk_.graph.nodes[node].kind == NodeKind::tensor) return build_tensor(node);
  if (item.shape == Shape::module) {
    return types_.of(Py_TYPE(item.object.ptr())).parametrized ? blank_parametrized(item.object) : blank(item.object);
  }
  const RecursionGuard guard;
  switch (item.shape) {
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
      return deepcopy(node);
    case Shape::scripted:
      return build_scripted(node);
    case Shape::weak:
    case Shape::method:
      return build_back(node);
    default:
      return item.object;
  }
}

// The source's own, or what a memo has in its place.
py::object Rebuilder::held(NodeId node) const {
  const auto it = walk_.replaced.find(node);
  return it == walk_.replaced.end() ? walk_.items[node].object : it->second;
}

py::object Rebuilder::build_tensor(NodeId node) {
  const Item& item = walk_.items[node];
  const core::TensorId id = walk_.graph.nodes[node].tensor;
  const at::Tensor& tensor = tensors_[id];
  if (!tensor.defined()) return finished(id, deepcopy(node));
  if (tensor.is_same(walk_.graph.tensors[id].value)) return held(node);
  const py::object result = steal(THPVariable_Wrap(tensor, type_of_tensor(node)));
  if (item.extra) attributed_.push_back(node);
  return result;
}

// A Parameter is a leaf: what autograd computes is a plain tensor, in a parameter's slot too, and a Parameter again
// where the clone has its own of it. The source is asked last: what autograd knows of it lies far off in memory.
PyTypeObject* Rebuilder::type_of_tensor(NodeId node) {
  static PyObject* const tensor = torch_class("torch", "Tensor").release().ptr();
  static PyObject* const parameter = torch_class("torch.nn", "Parameter").release().ptr();
  PyTypeObject* const type = Py_TYPE(walk_.items[node].object.ptr());
  auto* const named = reinterpret_cast<PyObject*>(type);
  const core::TensorId id = walk_.graph.nodes[node].tensor;
  if (!tensors_[id].is_leaf()) return named == parameter ? reinterpret_cast<PyTypeObject*>(tensor) : type;
  const bool again = named == tensor && !walk_.graph.tensors[id].value.is_leaf() && in_parameter_slot(node);
  return again ? reinterpret_cast<PyTypeObject*>(parameter) : type;
}

bool Rebuilder::in_parameter_slot(NodeId node) {
  if (parameters_.empty()) {
    parameters_.resize(walk_.items.size());
    for (const core::Slot& slot : walk_.graph.slots) {
      if (slot.kind == core::SlotKind::parameter && slot.target != none) parameters_[slot.target] = true;
    }
  }
  return parameters_[node];
}

// A bound method or a weak reference, of what its owner has become; the same one if that is not cloned.
py::object Rebuilder::build_back(NodeId node) {
  const Item& item = walk_.items[node];
  if (walk_.graph.nodes[node].count == 0) return item.object;
  const py::object owner = value_of(walk_.graph.slots_of(node)[0].target);
  if (item.shape == Shape::weak) return weak_like(item.object.ptr(), owner);
  return steal(PyMethod_New(PyMethod_GET_FUNCTION(item.object.ptr()), owner.ptr()));
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

py::object Rebuilder::copied_by_user_code(NodeId node) const {
  return memo_ && !is_twin(node) ? memo_->find(node) : py::object();
}

void Rebuilder::keep(NodeId node, py::object made) {
  made_[node] = std::move(made);
  if (memo_ && !is_twin(node)) memo_->add(node, made_[node]);
}

py::object rebuild(Walk& walk, const std::vector<at::Tensor>& tensors, bool last) {
  return Rebuilder(walk, tensors, last).run();
}

std::vector<py::object> rebuild_modules(Walk& walk, const std::vector<at::Tensor>& tensors,
                                        const std::vector<NodeId>& modules) {
  Rebuilder rebuilder(walk, tensors, /*last=*/false);
  rebuilder.run();
  std::vector<py::object> result;
  for (const NodeId module : modules) result.push_back(rebuilder.value_of(module));
  return result;
}

}  // namespace ramet::python
