/// Finds the modules to be initialised, and plans what they are initialised on.
#include "core/init.h"

#include <ATen/core/grad_mode.h>
#include <ramet/errors.h>
#include <ramet/init.h>

#include <algorithm>
#include <set>

#include "core/blocks.h"

namespace ramet::core {
namespace {

class InitPlanner {
 public:
  InitPlanner(const Graph& graph, const Catalog& catalog, const Claims& claims, const Rules& rules, const Plan& plan)
      : graph_(graph),
        catalog_(catalog),
        claims_(claims),
        rules_(rules),
        plan_(plan),
        beneath_(graph),
        can_(graph.nodes.size(), rules.initializer),
        owns_(graph.nodes.size()),
        owned_(graph.tensors.size()),
        registered_(graph.tensors.size()) {
    for (const NodeId module : rules.resets) can_[module] = true;
    for (const Slot& slot : graph.slots) {
      if (is_registered(slot.kind) && is_tensor(slot)) registered_[group_of(slot)] = true;
    }
  }

  std::vector<NodeId> run() {
    check_names();
    for (NodeId node = 0; node < graph_.nodes.size(); ++node) {
      if (is_module(node)) find_owned(node);
    }
    check_values();
    std::vector<NodeId> result;
    for (const NodeId module : built_order()) {
      if (owns_[module] && !can_[module]) {
        const std::string path = Paths(graph_).path_of(module);
        throw PlanError("clone: " + (path.empty() ? "the source itself" : "module '" + path + "'") +
                        " has neither reset_parameters nor _reset_parameters, and " + rule(owns_[module] - 1) +
                        " names tensors of it; give initializer, or name them in copy or share");
      }
      if (owns_[module] || initialises_the_whole(module)) result.push_back(module);
    }
    return result;
  }

 private:
  bool is_module(NodeId node) const { return graph_.nodes[node].kind == NodeKind::module; }
  bool is_tensor(const Slot& slot) const { return slot.target != none && graph_.nodes[slot.target].tensor != none; }
  TensorId tensor(const Slot& slot) const { return graph_.nodes[slot.target].tensor; }
  uint32_t group_of(const Slot& slot) const { return catalog_.groups[tensor(slot)]; }
  bool is_init(TensorId id) const { return plan_.tensors[id].mode == Mode::init; }
  std::string rule(TensorId id) const { return "init=" + rules_.modes[plan_.tensors[id].rule].where.text; }

  // It would re-initialise what the other names hold.
  void check_names() const {
    for (SlotId id = 0; id < graph_.slots.size(); ++id) {
      const Slot& slot = graph_.slots[id];
      if (!is_registered(slot.kind) || !is_tensor(slot) || !is_init(tensor(slot)) || is_named(id)) continue;
      const Paths paths(graph_);
      std::string named, others;
      int names = 0;
      for (const SlotId other : paths.slots()) {
        const Slot& it = graph_.slots[other];
        if (!is_registered(it.kind) || !is_tensor(it) || group_of(it) != group_of(slot)) continue;
        std::string& list = is_named(other) ? named : others;
        names += is_named(other);
        list += (list.empty() ? "'" : ", '") + paths.path(other) + "'";
      }
      throw PlanError("clone: " + rule(tensor(slot)) + " names " + named + ", which is tied to " + others +
                      ": that would be initialised too; name it in init as well, or say untie=" +
                      (names > 1 ? "[" + named + "]" : named) + " for a tensor of its own there");
    }
  }

  bool is_named(SlotId id) const {
    const RuleId rule = claims_.slots()[id].rule;
    return rule != none && rules_.modes[rule].mode == Mode::init;
  }

  // What is registered belongs to the modules that it is registered in; else, to the nearest whose state leads to it.
  void find_owned(NodeId module) {
    std::vector<NodeId> work{module};
    std::set<NodeId> met;
    while (!work.empty()) {
      const NodeId node = work.back();
      work.pop_back();
      for (const Slot& slot : graph_.slots_of(node)) {
        if (slot.target == none || slot.kind == SlotKind::back || is_module(slot.target)) continue;
        if (!is_tensor(slot)) {
          if (met.insert(slot.target).second) work.push_back(slot.target);
        } else if (is_init(tensor(slot)) && (is_registered(slot.kind) || !registered_[group_of(slot)])) {
          if (owns_[module] == 0) owns_[module] = tensor(slot) + 1;
          owned_[group_of(slot)] = true;
        }
      }
    }
  }

  void check_values() const {
    for (TensorId id = 0; id < graph_.tensors.size(); ++id) {
      if (!is_init(id)) continue;
      const bool to_meta = rules_.device ? rules_.device->is_meta() : graph_.tensors[id].value.is_meta();
      if (!owned_[catalog_.groups[id]] || to_meta) {
        throw PlanError("clone: slot '" + Paths(graph_).path_of(graph_.tensors[id].node) + "': " + rule(id) +
                        " cannot apply to it: " +
                        (to_meta ? "there are no values on the meta device; give the device that they shall be on"
                                 : "no module holds it that could initialise it"));
      }
    }
  }

  // A container's initialiser writes what is beneath it, as that of a Transformer does.
  bool initialises_the_whole(NodeId module) {
    if (rules_.initializer || !can_[module]) return false;
    bool any = false, all = true;
    beneath_.walk(module, [&](NodeId node) {
      for (const Slot& slot : graph_.slots_of(node)) {
        if (!is_registered(slot.kind) || !is_tensor(slot)) continue;
        any = true;
        all = all && is_init(tensor(slot));
      }
      return all;
    });
    return any && all;
  }

  // Every module once, children before their parents, as constructors build them; then those that are nobody's child.
  std::vector<NodeId> built_order() const {
    std::vector<NodeId> result;
    std::vector<bool> met(graph_.nodes.size());
    std::vector<std::pair<NodeId, uint32_t>> path;  // and how many of a node's slots are done
    for (NodeId root = 0; root < graph_.nodes.size(); ++root) {
      if (graph_.nodes[root].tensor != none || met[root]) continue;
      met[root] = true;
      path.assign(1, {root, 0});
      while (!path.empty()) {
        auto& [node, done] = path.back();
        if (done == graph_.nodes[node].count) {
          if (is_module(node)) result.push_back(node);
          path.pop_back();
          continue;
        }
        const Slot& slot = graph_.slots[graph_.nodes[node].first + done++];
        if (slot.kind != SlotKind::child || slot.target == none || met[slot.target]) continue;
        met[slot.target] = true;
        path.emplace_back(slot.target, 0);
      }
    }
    return result;
  }

  const Graph& graph_;
  const Catalog& catalog_;
  const Claims& claims_;
  const Rules& rules_;
  const Plan& plan_;
  Beneath beneath_;
  std::vector<bool> can_;         // by NodeId
  std::vector<TensorId> owns_;    // by NodeId: one more than a tensor of its own that is init; 0: it has none
  std::vector<bool> owned_;       // by group
  std::vector<bool> registered_;  // by group
};

void check_shape(const Graph& graph, TensorId id, const at::Tensor& fresh, const at::Tensor& wanted) {
  if (fresh.sizes() == wanted.sizes()) return;
  throw PlanError("clone: slot '" + Paths(graph).path_of(graph.tensors[id].node) + "': its initialiser has made it " +
                  c10::str(fresh.sizes()) + ", and it is " + c10::str(wanted.sizes()) +
                  "; what it initialises must keep its shape");
}

}  // namespace

void plan_init(const Graph& graph, const Catalog& catalog, const Claims* claims, const Rules& rules, Plan& plan) {
  const auto is_init = [](const auto& it) { return it.mode == Mode::init; };
  if (std::none_of(rules.modes.begin(), rules.modes.end(), is_init)) {
    if (!rules.initializer) return;
    throw PlanError("clone: initializer is given without init, which says what is to be initialised: give init too");
  }
  if (std::none_of(plan.tensors.begin(), plan.tensors.end(), is_init)) return;
  plan.init = InitPlanner(graph, catalog, *claims, rules, plan).run();
}

Plan plan_scratch(const Graph& graph, const Plan& plan) {
  Plan result;
  result.device = plan.device;
  result.tensors.resize(plan.tensors.size());
  for (TensorId id = 0; id < plan.tensors.size(); ++id) {
    const Decision& decision = plan.tensors[id];
    result.tensors[id].trains = decision.trains;
    result.tensors[id].moves = decision.moves;
    result.tensors[id].dtype = decision.dtype;
  }
  lay_out(graph, result);
  return result;
}

void take_fresh(const Graph& graph, const Plan& plan, TensorId id, const at::Tensor& now,
                const std::vector<at::Tensor>& scratch) {
  if (id == none || plan.tensors[id].mode != Mode::init || now.is_same(scratch[id])) return;
  check_shape(graph, id, now, scratch[id]);
  const at::NoGradGuard no_grad;
  scratch[id].copy_(now.clone());
}

void put_fresh(const Graph& graph, const Plan& plan, const std::vector<at::Tensor>& scratch,
               const std::vector<at::Tensor>& clone) {
  const at::NoGradGuard no_grad;
  for (TensorId id = 0; id < clone.size(); ++id) {
    if (plan.tensors[id].mode != Mode::init) continue;
    check_shape(graph, id, scratch[id], clone[id]);
    at::Tensor to = clone[id], from = scratch[id];
    for (int64_t dim = 0; dim < to.dim(); ++dim) {
      // An expanded one cannot be written as it is.
      if (to.stride(dim) == 0 && to.size(dim) > 1) to = to.narrow(dim, 0, 1), from = from.narrow(dim, 0, 1);
    }
    to.copy_(from);
  }
}

}  // namespace ramet::core
