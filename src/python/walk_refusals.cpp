/// Refusals in the walk: what copy.deepcopy, too, cannot copy, laid to the object that a user would keep.
#include <algorithm>
#include <array>

#include "python/walker.h"

namespace ramet::python {

using core::NodeId;
using core::SlotKind;

namespace {

/// The package that defines a type: "threading", "torch".
std::string package_of(py::handle type) {
  const auto module = py::str(py::getattr(type, "__module__", py::str())).cast<std::string>();
  return module.substr(0, module.find('.'));
}

/// Whether the standard library made a type's insides: a thread, a queue, a socket's file. Its bases that only hold
/// what others put there do not count.
bool is_librarys(PyTypeObject* type) {
  static constexpr std::array<std::string_view, 9> holders{"builtins", "collections", "types", "functools", "argparse",
                                                           "abc",      "typing",      "enum",  "contextlib"};
  const py::object names = py::module_::import("sys").attr("stdlib_module_names");
  for (const py::handle base : py::handle(type->tp_mro)) {
    const std::string package = package_of(base);
    if (std::ranges::find(holders, package) == holders.end() && names.contains(package)) return true;
  }
  return false;
}

bool is_builtin(PyTypeObject* type) {
  const std::string package = package_of(reinterpret_cast<PyObject*>(type));
  return package == "builtins" || package == "collections";
}

}  // namespace

void Walker::refuse(NodeId node, const std::string& why) {
  graph_.nodes[node].fate = core::Fate::refused;
  graph_.refusals.push_back({node, why});
}

// A lock within a thread or a queue is of no use apart from it, and what an optimizer keeps for a tensor has no path.
NodeId Walker::widest_refused(NodeId node) const {
  NodeId widest = node;
  bool part = true;  // of what would be widest
  std::vector<bool> met(graph_.nodes.size());
  while (node != 0 && !met[node]) {
    met[node] = true;
    const auto holds = [&](const core::Slot& slot) { return slot.target == node; };
    const auto names = [&](const core::Slot& slot) { return holds(slot) && slot.kind != SlotKind::back; };
    auto slot = std::ranges::find_if(graph_.slots, names);
    if (slot == graph_.slots.end()) slot = std::ranges::find_if(graph_.slots, holds);
    node = slot->owner;
    PyTypeObject* type = Py_TYPE(walk_.items[node].object.ptr());
    part = slot->kind == SlotKind::back || (part && (is_builtin(type) || is_librarys(type)));
    if (part && !is_builtin(type)) widest = node;
  }
  return widest;
}

void Walker::state_refusals() {
  for (core::Refusal& refusal : graph_.refusals) {
    const NodeId widest = widest_refused(refusal.node);
    std::string why = "(" + refusal.reason + ")";
    if (widest != refusal.node && graph_.nodes[widest].fate == core::Fate::cloned) {
      graph_.nodes[widest].fate = core::Fate::refused;
      refusal.node = widest;
      why = "(within it: " + refusal.reason + ")";
    }
    const std::string type = Py_TYPE(walk_.items[refusal.node].object.ptr())->tp_name;
    refusal.reason = "an object of type '" + type + "' cannot be copied " + why;
  }
}

}  // namespace ramet::python
