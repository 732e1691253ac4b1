/// Optimizers in the walk: no rule reaches what one keeps for a parameter, and that follows the parameter.
#include <unordered_map>

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

/// The parameters of an optimizer, and whether the step count of each lives where it does.
std::unordered_map<PyObject*, bool> parameters_of(const py::object& optimizer) {
  std::unordered_map<PyObject*, bool> result;
  for (const py::handle held : py::getattr(optimizer, "param_groups", py::tuple())) {
    if (!PyDict_Check(held.ptr())) continue;
    const auto group = py::reinterpret_borrow<py::dict>(held);
    if (!group.contains("params")) continue;
    const bool beside = flag(group, "fused") || flag(group, "capturable");
    for (const py::handle parameter : group["params"]) result[parameter.ptr()] = beside;
  }
  return result;
}

bool is_beside(const std::unordered_map<PyObject*, bool>& parameters, PyObject* key) {
  const auto it = parameters.find(key);
  return it != parameters.end() && it->second;
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
    const std::unordered_map<PyObject*, bool> parameters = parameters_of(walk_.items[node].object);
    for (const auto& [parameter, beside] : parameters) {
      if (const TensorId id = tensor_of(parameter); id != core::none) graph_.tensors[id].trained = true;
    }
    PyObject *key = nullptr, *value = nullptr;
    for (Py_ssize_t position = 0; PyDict_Next(walk_.items[state].object.ptr(), &position, &key, &value);) {
      const TensorId parameter = tensor_of(key);
      if (parameter != core::none) follow(parameter, value, is_beside(parameters, key));
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
