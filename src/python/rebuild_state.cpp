/// Plain state in the making: containers, and objects as copy.deepcopy puts them together.
#include "python/closures.h"
#include "python/rebuilder.h"
#include "python/reduced.h"
#include "python/shells.h"

namespace ramet::python {

using core::NodeId;
using core::none;

namespace {

// Not by the class's own __setattr__, which forbids it where a class is frozen.
void set_attributes(const py::object& object, const py::object& dict, const py::object& slots) {
  if (!dict.is_none()) object.attr("__dict__").attr("update")(dict);
  if (slots.is_none()) return;
  for (const auto& [name, slot] : slots.cast<py::dict>()) {
    if (PyObject_GenericSetAttr(object.ptr(), name.ptr(), slot.ptr()) != 0) throw py::error_already_set();
  }
}

}  // namespace

py::object Rebuilder::build_list(NodeId node) {
  PyObject* source = walk_.items[node].object.ptr();
  py::list result;
  keep(node, result);
  Cursor at = cursor(node);
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(source); ++i) result.append(value(PyList_GET_ITEM(source, i), at));
  return result;
}

py::object Rebuilder::build_tuple(NodeId node) {
  PyObject* source = walk_.items[node].object.ptr();
  py::tuple result(PyTuple_GET_SIZE(source));
  Cursor at = cursor(node);
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(source); ++i) result[i] = value(PyTuple_GET_ITEM(source, i), at);
  // An item that clones itself may have come back here, and have left a copy in the memo.
  py::object other = copied_by_user_code(node);
  return other ? other : std::move(result);
}

py::object Rebuilder::build_dict(NodeId node) {
  const Item& item = walk_.items[node];
  py::object result = PyODict_CheckExact(item.object.ptr()) ? steal(PyODict_New()) : py::object(py::dict());
  keep(node, result);
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
  keep(node, result);
  Cursor at = cursor(node);
  for (const py::handle source : walk_.items[node].object) result.add(value(source.ptr(), at));
  return result;
}

py::object Rebuilder::build_plain(NodeId node) {
  Item& item = walk_.items[node];
  const py::object result = blank(item.object);
  keep(node, result);
  const bool takes = takes_drafts_ && item.drafted;
  const py::object dict = takes ? std::move(item.extra) : patched(item.extra.ptr(), cursor(node));
  if (takes) fill_places(node, false);
  set_dict(result, dict);
  const TypeFacts facts = types_.of(Py_TYPE(result.ptr()));
  if (facts.setstate) result.attr("__setstate__")(steal(PyDict_Copy(dict.ptr())));
  if (facts.is_optimizer) rebind_functions(item.object, result);
  return result;
}

py::object Rebuilder::build_reduced(NodeId node) {
  const Reduced reduced(walk_.items[node].extra);
  Cursor at = cursor(node);
  const py::tuple given = reduced.args();
  py::tuple args(given.size());
  for (std::size_t i = 0; i < given.size(); ++i) args[i] = value(py::object(given[i]).ptr(), at);
  const py::object result = steal(PyObject_CallObject(py::object(reduced.parts[0]).ptr(), args.ptr()));
  keep(node, result);
  py::object state = reduced.state();
  if (reduced.has_slots()) {
    const py::object dict = half(state[py::int_(0)], at);
    set_attributes(result, dict, half(state[py::int_(1)], at));
    state = py::none();
  } else if (PyDict_CheckExact(state.ptr())) {
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
  if (types_.of(Py_TYPE(result.ptr())).is_optimizer) rebind_functions(walk_.items[node].object, result);
  return result;
}

py::object Rebuilder::half(const py::object& source, Cursor& at) {
  if (source.is_none()) return source;
  py::dict result;
  fill_dict(result, source.ptr(), at);
  return result;
}

// Over a copy: user code may change the source's own.
void Rebuilder::fill_dict(py::dict target, PyObject* source, Cursor& at) {
  const py::object entries = steal(PyDict_Copy(source));
  PyObject *key = nullptr, *held = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(entries.ptr(), &position, &key, &held);) {
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
  set_attributes(object, dict, slots);
}

}  // namespace ramet::python
