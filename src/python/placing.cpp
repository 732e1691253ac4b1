/// Finds the places by identity, in the live objects. What cannot be changed itself (a tuple, a bound method, a weak
/// reference) is made anew where it is held.
#include "python/placing.h"

#include <ramet/errors.h>
#include <ramet/paths.h>

#include <map>

#include "python/shells.h"
#include "python/steal.h"

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
  if (PyWeakref_CheckRefExact(value.ptr())) {
    const auto it = now.find(value().ptr());
    return it == now.end() ? same() : py::object(py::weakref(it->second));
  }
  return same();
}

py::object attributes_of(const py::object& object) {
  PyObject* dict = PyObject_GenericGetDict(object.ptr(), nullptr);
  if (dict == nullptr) PyErr_Clear();
  return py::reinterpret_steal<py::object>(dict);
}

}  // namespace

Placing::Placing(std::string verb, const Walk& walk, const core::Changes& changes,
                 const std::vector<py::object>& values)
    : verb_(std::move(verb)), walk_(walk) {
  std::map<NodeId, Objects> plain;  // by owner: one container's references to one object all become the same
  for (const core::Change& change : changes.slots) {
    const core::Slot& slot = walk.graph.slots[change.slot];
    const py::object& now = values[change.now];
    if (is_registered(slot.kind)) {
      plan_registered(change, now);
    } else {
      plain[slot.owner][walk.items[change.old].object.ptr()] = now;
    }
  }
  for (const auto& [owner, now] : plain) plan_plain(owner, now);
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

void Placing::plan_plain(NodeId owner, const Objects& now) {
  const py::object& object = walk_.items[owner].object;
  bool found = false;
  if (PyList_CheckExact(object.ptr())) {
    found = plan_list(object, now);
  } else if (PyDict_CheckExact(object.ptr()) || PyODict_CheckExact(object.ptr())) {
    found = plan_dict(object, now);
  } else if (Py_TYPE(object.ptr()) == &PySet_Type) {
    found = plan_set(object, now);
  } else if (const py::object attributes = attributes_of(object)) {
    found = plan_dict(attributes, now);
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
