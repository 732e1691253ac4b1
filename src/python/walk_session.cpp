/// Sessions in the walk: containers whose members count as what is registered in a module does.
#include <ramet/errors.h>

#include <algorithm>

#include "python/walker.h"

namespace ramet::python {

using core::NodeId;
using core::NodeKind;
using core::none;
using core::SlotId;
using core::SlotKind;

namespace {

constexpr const char* a_source =
    "the source is a torch.nn.Module, or a session: a tuple, list, dict, dataclass or named tuple of modules, "
    "optimizers, schedulers and tensors";

bool is_parameter(const py::object& tensor) {
  const int result = PyObject_IsInstance(tensor.ptr(), torch_class("torch.nn", "Parameter").ptr());
  if (result < 0) throw py::error_already_set();
  return result == 1;
}

}  // namespace

void Walker::check_source(PyObject* object) {
  const TypeFacts facts = walk_.types.of(Py_TYPE(object));
  if (facts.is_module || is_container(object)) return;
  std::string message = std::string("clone: ") + a_source + ", not '" + Py_TYPE(object)->tp_name + "'";
  if (facts.is_optimizer) {
    message += "; alone it would train copies that no module holds: clone((module, optimizer)) clones both";
  } else if (facts.is_tensor) {
    message += "; tensor.detach().clone() copies one tensor, and clone((tensor,)) is a session of one";
  }
  throw PlanError(message);
}

void Walker::check_members() const {
  const std::vector<core::Node>& nodes = graph_.nodes;
  if (!walk_.items[0].session || nodes[0].fate == core::Fate::held || !graph_.tensors.empty()) return;
  const auto is_module = [](const core::Node& node) { return node.kind == NodeKind::module; };
  if (std::any_of(nodes.begin(), nodes.end(), is_module) || !graph_.refusals.empty()) return;
  throw PlanError(std::string("clone: the session is empty: it holds no module, optimizer or tensor; ") + a_source);
}

bool Walker::is_container(PyObject* object) {
  const Shape shape = walk_.types.of(Py_TYPE(object)).shape;
  if (shape >= Shape::list && shape <= Shape::ordered_dict) return true;
  if (shape != Shape::plain && shape != Shape::reduced) return false;
  return PyTuple_Check(object) || PyList_Check(object) || PyDict_Check(object) ||
         PyObject_HasAttrString(reinterpret_cast<PyObject*>(Py_TYPE(object)), "__dataclass_fields__") != 0;
}

// As plain state, whose slots then become a module's. A member that holds None is a slot too; those come last, where
// rebuild, which finds nothing to make there, does not come across them.
void Walker::expand_session(NodeId node) {
  std::vector<uint32_t> absent;
  absent_ = &absent;
  expand_state(node);
  absent_ = nullptr;
  const core::Node& owner = graph_.nodes[node];
  for (SlotId id = owner.first; id < owner.first + owner.count; ++id) make_member(graph_.slots[id]);
  for (const uint32_t name : absent) add_slot(node, SlotKind::child, name, none);
}

// Whatever else a session holds stays plain state, an optimizer too: rules are for what it refers to.
void Walker::make_member(core::Slot& slot) {
  core::Node& target = graph_.nodes[slot.target];
  Item& item = walk_.items[slot.target];
  if (graph_.nodes[slot.owner].fate == core::Fate::held) target.fate = core::Fate::held;
  if (target.kind == NodeKind::tensor) {
    slot.kind = is_parameter(item.object) ? SlotKind::parameter : SlotKind::buffer;
  } else if (target.kind == NodeKind::module) {
    slot.kind = SlotKind::child;
  } else if (is_container(item.object.ptr())) {
    if (slot.target > slot.owner) item.session = true;  // else a module's plain state, and expanded already
    if (item.session) slot.kind = SlotKind::child;
  }
}

}  // namespace ramet::python
