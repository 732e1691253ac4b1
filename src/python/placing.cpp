/// Finds the places by identity, in the live objects. What cannot be changed itself (a tuple, a bound method, a weak
/// reference) is made anew where it is held.
#include "python/placing.h"

#include <ramet/errors.h>
#include <ramet/paths.h>

#include <map>

#include "python/flat.h"
#include "python/shells.h"

namespace ramet::python {
namespace {

using core::NodeId;
using core::SlotKind;

template <class Objects>
py::object substituted(py::handle value, const Objects& now) {
  const auto same = [&] { return py::reinterpret_borrow<py::object>(value); };
  if (const auto it = now.find(value.ptr()); it != now.end()) return it->second;
  if (PyTuple_CheckExact(value.ptr())) {
    py::list items;
    bool changed = false;
    for (const py::handle item : value) {
      items.append(substituted(item, now));
      changed = changed || PyList_GET_ITEM(items.ptr(), PyList_GET_SIZE(items.ptr()) - 1) != item.ptr();
    }
    return changed ? py::object(py::tuple(items)) : same();
  }
  if (PyMethod_Check(value.ptr())) {
    const auto it = now.find(PyMethod_GET_SELF(value.ptr()));
    if (it == now.end()) return same();
    return steal(PyMethod_New(PyMethod_GET_FUNCTION(value.ptr()), it->second.ptr()));
  }
  if (PyWeakref_CheckRefExact(value.ptr()) || PyWeakref_CheckProxy(value.ptr())) {
    const auto it = now.find(referent(value.ptr()).ptr());
    return it == now.end() ? same() : weak_like(value.ptr(), it->second);
  }
  return same();
}

py::object attributes_of(const py::object& object) {
  PyObject* dict = PyObject_GenericGetDict(object.ptr(), nullptr);
  if (dict == nullptr) PyErr_Clear();
  return py::reinterpret_steal<py::object>(dict);
}

// Each parameter is stepped once, and what was kept for one that is stepped no more goes to the one in its place, if
// nothing is kept for that.
template <class Objects>
void settle(const py::object& optimizer, const Objects& now) {
  std::unordered_set<PyObject*> replacing, stepped;
  for (const auto& [old, value] : now) replacing.insert(value.ptr());
  const py::object state = optimizer.attr("state");
  for (const py::handle group : optimizer.attr("param_groups")) {
    const py::object params = group["params"];
    for (Py_ssize_t i = 0; i < PyObject_Size(params.ptr());) {
      const py::object parameter = params[py::int_(i)];
      if (stepped.insert(parameter.ptr()).second || replacing.count(parameter.ptr()) == 0) {
        ++i;
        continue;
      }
      params.attr("pop")(i);
      if (group.contains("param_names")) group["param_names"].attr("pop")(i);
      // LBFGS keeps one vector of all: its length is another now.
      if (py::hasattr(optimizer, "_numel_cache")) {
        optimizer.attr("_numel_cache") = py::none();
        state.attr("clear")();
      }
    }
  }
  for (const auto& [old, value] : now) {
    if (stepped.count(old) != 0 || !state.contains(py::handle(old))) continue;
    const py::object kept = state.attr("pop")(py::handle(old));
    if (!state.contains(value)) state[value] = kept;
  }
}

}  // namespace

Placing::Placing(std::string verb, const Walk& walk, const core::Changes& changes,
                 const std::vector<py::object>& values)
    : verb_(std::move(verb)), walk_(walk) {
  find_optimizers();
  struct Owned {
    Objects now;
    std::size_t places = 0;
  };
  std::map<NodeId, Owned> plain;  // by owner: one container's references to one object all become the same
  for (const core::Change& change : changes.slots) {
    const core::Slot& slot = walk.graph.slots[change.slot];
    const py::object& now = values[change.now];
    if (is_registered(slot.kind)) {
      plan_registered(change, now);
    } else {
      Owned& owned = plain[slot.owner];
      owned.now[walk.items[change.old].object.ptr()] = now;
      ++owned.places;
    }
  }
  for (const auto& [owner, owned] : plain) plan_plain(owner, owned.now, owned.places);
  for (const Optimizer& it : optimizers_) {
    if (!it.now.empty()) steps_.emplace_back([it] { settle(it.object, it.now); });
  }
}

void Placing::find_optimizers() {
  static PyObject* const type = torch_class("torch.optim", "Optimizer").release().ptr();
  for (const Item& item : walk_.items) {
    if (!PyObject_TypeCheck(item.object.ptr(), reinterpret_cast<PyTypeObject*>(type))) continue;
    for (const py::handle group : py::getattr(item.object, "param_groups", py::tuple())) {
      params_[py::object(group["params"]).ptr()] = optimizers_.size();
    }
    states_.insert(py::getattr(item.object, "state", py::none()).ptr());
    optimizers_.push_back({item.object, {}});
  }
}

void Placing::run() const {
  for (const auto& step : steps_) step();
}

void Placing::plan_registered(const core::Change& change, const py::object& now) {
  const core::Slot& slot = walk_.graph.slots[change.slot];
  const Item& owner = walk_.items[slot.owner];
  const std::string name(walk_.graph.name(change.slot));
  if (owner.shape == Shape::scripted) {
    if (slot.kind == SlotKind::child) fail(slot.owner, "is a scripted module, whose children cannot be replaced");
    steps_.emplace_back([=, module = owner.object] { assign_scripted(module, slot.kind, name, now); });
    return;
  }
  const py::object dict = attributes_of(owner.object)[dict_name(slot.kind)];
  for (const auto& [key, value] : py::reinterpret_borrow<py::dict>(dict)) {
    const bool named = slot.name == core::none || py::str(key).cast<std::string>() == name;
    if (!named || !value.is(walk_.items[change.old].object)) continue;
    steps_.emplace_back([=, key = py::reinterpret_borrow<py::object>(key)] { dict[key] = now; });
  }
}

// `places`: how many the walk has met, of which an object's attributes may be only some.
void Placing::plan_plain(NodeId owner, const Objects& now, std::size_t places) {
  const py::object& object = walk_.items[owner].object;
  if (states_.count(object.ptr()) != 0) return;  // see settle
  if (const auto it = params_.find(object.ptr()); it != params_.end()) {
    for (const auto& [old, value] : now) optimizers_[it->second].now[old] = value;
  }
  bool found = false;
  if (PyList_CheckExact(object.ptr())) {
    found = plan_list(object, now);
  } else if (PyDict_CheckExact(object.ptr()) || PyODict_CheckExact(object.ptr())) {
    found = plan_dict(object, now);
  } else if (Py_TYPE(object.ptr()) == &PySet_Type) {
    found = plan_set(object, now);
  } else if (const py::object attributes = attributes_of(object)) {
    const std::size_t before = steps_.size();
    plan_dict(attributes, now);
    found = steps_.size() - before == places;
  }
  if (found) return;
  fail(owner, std::string("is of type '") + Py_TYPE(object.ptr())->tp_name +
                  "', whose contents cannot be replaced, and refers to what is to be; take it out, and put it back "
                  "afterwards with the new one in it");
}

bool Placing::plan_list(const py::object& list, const Objects& now) {
  const std::size_t before = steps_.size();
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list.ptr()); ++i) {
    const py::handle held = PyList_GET_ITEM(list.ptr(), i);
    const py::object value = substituted(held, now);
    if (!value.is(held)) steps_.emplace_back([=] { list[py::int_(i)] = value; });
  }
  return steps_.size() != before;
}

bool Placing::plan_dict(const py::object& dict, const Objects& now) {
  const std::size_t before = steps_.size();
  py::list items;
  bool other_keys = false;
  for (const py::handle pair : steal(PyMapping_Items(dict.ptr()))) {
    const py::handle key = PyTuple_GET_ITEM(pair.ptr(), 0), held = PyTuple_GET_ITEM(pair.ptr(), 1);
    const py::object new_key = substituted(key, now), value = substituted(held, now);
    items.append(py::make_tuple(new_key, value));
    other_keys = other_keys || !new_key.is(key);
    if (!value.is(held)) steps_.emplace_back([=] { dict[new_key] = value; });
  }
  if (!other_keys) return steps_.size() != before;
  // A new key would go to the end: all are set again, in their order.
  steps_.resize(before);
  steps_.emplace_back([=] {
    dict.attr("clear")();
    dict.attr("update")(items);
  });
  return true;
}

bool Placing::plan_set(const py::object& set, const Objects& now) {
  py::list values;
  bool same = true;
  for (const py::handle held : set) {
    const py::object value = substituted(held, now);
    values.append(value);
    same = same && value.is(held);
  }
  if (same) return false;
  steps_.emplace_back([=] {
    set.attr("clear")();
    set.attr("update")(values);
  });
  return true;
}

void Placing::fail(NodeId owner, const std::string& what) const {
  throw PlanError(verb_ + ": '" + core::Paths(walk_.graph).path_of(owner) + "' " + what);
}

}  // namespace ramet::python
