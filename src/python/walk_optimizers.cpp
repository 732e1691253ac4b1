/// Optimizers in the walk: no rule reaches what one keeps for a parameter, and that follows the parameter.
#include "python/walker.h"

namespace ramet::python {

using core::NodeId;
using core::SlotKind;
using core::TensorId;

namespace {

bool is_text(PyObject* key, const char* text) {
  return PyUnicode_Check(key) && PyUnicode_CompareWithASCIIString(key, text) == 0;
}

bool holds_hooks(PyObject* key) {
  if (!PyUnicode_CheckExact(key)) return false;
  const auto text = py::handle(key).cast<std::string>();
  return text.starts_with("_optimizer_") && text.ends_with("_hooks");
}

bool flag(const py::dict& group, const char* name) {
  return group.contains(name) && PyObject_IsTrue(py::object(group[name]).ptr()) == 1;
}

/// The parameters whose step count lives where they do.
std::unordered_set<PyObject*> with_step_beside(const py::object& optimizer) {
  std::unordered_set<PyObject*> result;
  for (const py::handle held : py::getattr(optimizer, "param_groups", py::tuple())) {
    if (!PyDict_Check(held.ptr())) continue;
    const auto group = py::reinterpret_borrow<py::dict>(held);
    if (!group.contains("params") || !(flag(group, "fused") || flag(group, "capturable"))) continue;
    for (const py::handle parameter : group["params"]) result.insert(parameter.ptr());
  }
  return result;
}

}  // namespace

void Walker::expand_optimizer(NodeId node, PyObject* dict) {
  complete_identities();
  PyObject *key = nullptr, *value = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(dict, &position, &key, &value);) {
    const std::size_t slots = graph_.slots.size();
    item(node, key, value);
    if (graph_.slots.size() == slots) continue;
    core::Slot& slot = graph_.slots.back();
    if (holds_hooks(key)) walk_.items[slot.target].weak = true;
    if (!is_text(key, "state") || !PyDict_Check(value)) continue;
    slot.kind = SlotKind::back;
    optimizers_.emplace_back(node, slot.target);
  }
}

void Walker::follow_parameters() {
  for (const auto& [node, state] : optimizers_) {
    const std::unordered_set<PyObject*> beside = with_step_beside(walk_.items[node].object);
    PyObject *key = nullptr, *value = nullptr;
    for (Py_ssize_t position = 0; PyDict_Next(walk_.items[state].object.ptr(), &position, &key, &value);) {
      const TensorId parameter = tensor_of(key);
      if (parameter != core::none) follow(parameter, value, beside.count(key) != 0);
    }
  }
}

// As Optimizer.load_state_dict goes through what is kept for a parameter.
void Walker::follow(TensorId parameter, PyObject* held, bool with_step) {
  if (PyDict_Check(held)) {
    PyObject *key = nullptr, *value = nullptr;
    for (Py_ssize_t position = 0; PyDict_Next(held, &position, &key, &value);) {
      if (!is_text(key, "step")) {
        follow(parameter, value, with_step);
      } else if (const TensorId count = tensor_of(value); count != core::none && with_step) {
        graph_.tensors[count].follows = parameter;  // in no other dtype than its own
      }
    }
  } else if (PyList_Check(held) || PyTuple_Check(held)) {
    for (const py::handle value : py::reinterpret_borrow<py::object>(held)) follow(parameter, value.ptr(), with_step);
  } else if (const TensorId tensor = tensor_of(held); tensor != core::none && tensor != parameter) {
    graph_.tensors[tensor].follows = parameter;
    graph_.tensors[tensor].follows_dtype = graph_.tensors[parameter].value.is_floating_point();
  }
}

TensorId Walker::tensor_of(PyObject* object) const {
  const auto it = identities_.find(object);
  return it == identities_.end() ? core::none : graph_.nodes[it->second].tensor;
}

}  // namespace ramet::python
