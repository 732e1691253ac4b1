/// The scratch clone has nothing of the source's: also what rules share or keep is copied there.
#include "nn/initialise.h"

#include <ramet/init.h>
#include <ramet/materialize.h>

#include "nn/access.h"
#include "nn/rebuild.h"

namespace ramet::nn {
namespace {

using core::NodeId;

/// Kept state, and what lies outside of the source, stay what they are.
Walk scratch_walk(const Walk& walk) {
  Walk result = walk;
  for (NodeId node = 0; node < result.items.size(); ++node) {
    core::Node& it = result.graph.nodes[node];
    const bool copied = it.tensor != core::none || result.items[node].type != nullptr;
    if (it.fate == core::Fate::held && copied) it.fate = core::Fate::cloned;
  }
  return result;
}

/// An initialiser may have put another tensor in a slot.
void take_slots(const Walk& walk, const core::Plan& plan, NodeId node, torch::nn::Module& module,
                const std::vector<at::Tensor>& made) {
  for (const core::Slot& slot : walk.graph.slots_of(node)) {
    if (slot.target == core::none || !is_registered(slot.kind) || slot.kind == core::SlotKind::child) continue;
    const auto& tensors = slot.kind == core::SlotKind::parameter ? detail::Dictionaries::parameters(module)
                                                                 : detail::Dictionaries::buffers(module);
    const at::Tensor* held = tensors.find(std::string(walk.graph.name(&slot - walk.graph.slots.data())));
    const core::TensorId id = walk.graph.nodes[slot.target].tensor;
    if (held != nullptr && held->defined()) core::take_fresh(walk.graph, plan, id, *held, made);
  }
}

}  // namespace

void initialise(const Walk& walk, const core::Plan& plan, const std::function<void(torch::nn::Module&)>& initializer,
                const std::vector<at::Tensor>& clone) {
  const Walk scratch = scratch_walk(walk);
  const std::vector<at::Tensor> made = core::materialize(scratch.graph, core::plan_scratch(scratch.graph, plan), 1)[0];
  const std::vector<detail::ModulePtr> modules = rebuild(scratch, made);
  for (const NodeId node : plan.init) {
    if (initializer) {
      initializer(*modules[node]);
    } else {
      walk.items[node].type->initialise(*modules[node]);
    }
  }
  for (const NodeId node : plan.init) take_slots(scratch, plan, node, *modules[node], made);
  core::put_fresh(walk.graph, plan, made, clone);
}

}  // namespace ramet::nn
