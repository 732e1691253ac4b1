/// Leaves in a clone: what its own `__deepcopy__` clones, with a memo that knows what has been made, and ScriptModules.
#include <torch/csrc/autograd/python_variable.h>

#include "python/rebuilder.h"
#include "python/shells.h"

namespace ramet::python {

using core::NodeId;
using core::none;
using core::SlotId;

void Rebuilder::make_memo() {
  if (memo_) return;
  for (NodeId node = 0; node < made_.size(); ++node) {
    if (is_ready(node)) value_of(node);
  }
  memo_.emplace(walk_, tensors_, walk_.memo ? walk_.memo.cast<py::dict>() : py::dict());
  add_made(*memo_);
}

void Rebuilder::add_made(Memo& memo) const {
  for (NodeId node = 0; node < made_.size(); ++node) {
    if (made_[node] && !is_twin(node)) memo.add(node, made_[node]);
  }
}

// For what has a __deepcopy__ of its own: the memo knows every tensor and module of the clone, and all else that has
// been made. For a twin it knows the twins of what is beneath.
py::object Rebuilder::deepcopy(NodeId node) {
  make_memo();
  if (!is_twin(node)) return memo_->deepcopy(walk_.items[node].object);
  Memo own(walk_, tensors_, py::dict());
  add_made(own);
  own.forget(node);
  core::walk_beneath(walk_.graph, node, [&](NodeId inner) {
    for (const core::Slot& slot : walk_.graph.slots_of(inner)) {
      if (slot.target != none && is_twin(slot.target) && is_ready(slot.target))
        own.add(slot.target, value_of(slot.target));
    }
    return true;
  });
  return own.deepcopy(walk_.items[node].object);
}

py::object Rebuilder::finished(core::TensorId id, const py::object& tensor) {
  const auto it = walk_.finish.find(id);
  if (it == walk_.finish.end()) return tensor;
  const auto [freeze, grad] = it->second;
  if (freeze) tensor.attr("requires_grad") = false;
  const at::Tensor& source = walk_.graph.tensors[id].value;
  if (grad && source.is_leaf() && source.grad().defined()) {
    tensor.attr("grad") = steal(THPVariable_Wrap(source.grad().detach().clone()));
  }
  return tensor;
}

py::object Rebuilder::build_scripted(NodeId node) {
  const py::object result = deepcopy(node);
  assign_scripted_slots(node, result);
  return result;
}

// The tensors of a ScriptModule's copy and of those within it, by the plan.
void Rebuilder::assign_scripted_slots(NodeId node, const py::object& module) {
  const core::Node& it = walk_.graph.nodes[node];
  for (SlotId id = it.first; id < it.first + it.count; ++id) {
    const core::Slot& slot = walk_.graph.slots[id];
    if (slot.kind != core::SlotKind::child) {
      assign_scripted(module, slot.kind, walk_.graph.name(id), value_of(slot.target));
    } else if (walk_.items[slot.target].shape == Shape::scripted) {
      const std::string name(walk_.graph.name(id));
      const py::object child = module.attr("_modules")[py::str(name)];
      if (!made_[slot.target]) keep(slot.target, child);
      assign_scripted_slots(slot.target, child);
    }
  }
}

}  // namespace ramet::python
