/// Decides the mode of every tensor, with every error that rules can have.
#include <ramet/errors.h>
#include <ramet/plan.h>

#include <algorithm>

#include "core/blocks.h"
#include "core/claims.h"
#include "core/conversions.h"
#include "core/differentiable.h"
#include "core/fetch.h"
#include "core/init.h"

namespace ramet::core {
namespace {

std::string rule_text(const Rule& rule) { return std::string(to_string(rule.mode)) + "=" + rule.where.text; }

/// The path of a node, or of the nearest owner that has one: what stands in a set has none of its own.
std::string path_towards(const Graph& graph, NodeId node) {
  const Paths paths(graph);
  std::vector<NodeId> met;
  while (node != 0 && paths.path_of(node).empty() && std::find(met.begin(), met.end(), node) == met.end()) {
    met.push_back(node);
    const auto holds = [&](const Slot& slot) { return slot.target == node && slot.kind != SlotKind::back; };
    const auto slot = std::find_if(graph.slots.begin(), graph.slots.end(), holds);
    if (slot != graph.slots.end()) node = slot->owner;
  }
  return paths.path_of(node);
}

void check_refusals(const Graph& graph) {
  for (const Refusal& refusal : graph.refusals) {
    if (graph.nodes[refusal.node].fate != Fate::refused) continue;
    const std::string path = path_towards(graph, refusal.node);
    const bool keepable = refusal.keepable && !path.empty();
    throw UncloneableError("clone: " + (path.empty() ? "the source itself" : "slot '" + path + "'") + ": " +
                           refusal.reason +
                           (keepable ? "; keep='" + path + "' lets the clone hold the source's own" : ""));
  }
}

/// By group of tied tensors: whether one of them, and so all, is held.
std::vector<bool> held_groups(const Graph& graph, const Catalog& catalog) {
  std::vector<bool> held(graph.tensors.size());
  for (TensorId id = 0; id < graph.tensors.size(); ++id) {
    if (graph.nodes[graph.tensors[id].node].fate == Fate::held) held[catalog.groups[id]] = true;
  }
  return held;
}

/// The keep that holds `node`, or a tensor tied to it, as the user wrote it.
std::string keep_text(const Graph& graph, const Catalog& catalog, const Rules& rules, NodeId node) {
  const auto same = [&](NodeId other) {
    const TensorId a = graph.nodes[node].tensor, b = graph.nodes[other].tensor;
    return other == node || (a != none && b != none && catalog.groups[a] == catalog.groups[b]);
  };
  for (const Selection& keep : rules.keep) {
    std::vector<NodeId> kept = keep.under;
    for (const SlotId slot : keep.slots) kept.push_back(graph.slots[slot].target);
    for (const NodeId outer : kept) {
      if (outer == none) continue;
      bool found = false;
      walk_beneath(graph, outer, [&](NodeId inner) {
        found = found || same(inner);
        for (const Slot& slot : graph.slots_of(inner)) found = found || (slot.target != none && same(slot.target));
        return !found;
      });
      if (found) return "keep=" + keep.text;
    }
  }
  return {};
}

/// The slots with tensors that a selection names.
std::vector<SlotId> named_by(const Graph& graph, const Selection& where) {
  Rules rules;
  rules.modes.push_back({Mode::copy, where});
  return named_slots(graph, rules);
}

/// A rule that names only what a boundary keeps can only be a mistake.
void check_held(const Graph& graph, const Catalog& catalog, const Rules& rules, const std::vector<bool>& held) {
  const auto fate_held = [](const Node& node) { return node.fate == Fate::held; };
  if (std::none_of(graph.nodes.begin(), graph.nodes.end(), fate_held)) return;
  const auto check = [&](const Selection& where, const std::string& text) {
    if (where.rank < Rank::type) return;
    std::vector<NodeId> tensors;
    for (const SlotId slot : named_by(graph, where)) tensors.push_back(graph.slots[slot].target);
    const auto is_held = [&](NodeId node) {
      const TensorId tensor = graph.nodes[node].tensor;
      return graph.nodes[node].fate == Fate::held || (tensor != none && held[catalog.groups[tensor]]);
    };
    const auto all_held = [&](const std::vector<NodeId>& nodes) {
      return !nodes.empty() && std::all_of(nodes.begin(), nodes.end(), is_held);
    };
    if (!all_held(where.under) && !all_held(tensors)) return;
    const std::string keep = keep_text(graph, catalog, rules, tensors.empty() ? where.under[0] : tensors[0]);
    throw PlanError("clone: " + text + " names what " +
                    (keep.empty() ? "stays the source's own anyway; drop it"
                                  : keep + " already keeps whole; drop it, or keep less"));
  };
  for (const Rule& rule : rules.modes) check(rule.where, rule_text(rule));
  for (const Selection& freeze : rules.freeze) check(freeze, "freeze=" + freeze.text);
}

/// The narrowest claim on any slot of a group of tied tensors.
struct Verdict {
  SlotId slot = none;
  RuleId rule = none;
  SlotId rival = none;  // a slot whose claim of the same rank disagrees
};

/// Reduces the claims on slots to one verdict a group.
class Verdicts {
 public:
  Verdicts(const Graph& graph, const Catalog& catalog, const Rules& rules)
      : graph_(graph), catalog_(catalog), rules_(rules.modes), claims_(graph, rules), verdicts_(graph.tensors.size()) {
    for (SlotId slot = 0; slot < graph.slots.size(); ++slot) {
      if (claims_.slots()[slot].rule != none) weigh(slot);
    }
  }

  /// The rule that decides a group. Throws PlanError if rules disagree on it.
  RuleId of(TensorId group) const {
    const Verdict& verdict = verdicts_[group];
    if (verdict.rival == none) return verdict.rule;
    const Claim& rival = claims_.slots()[verdict.rival];
    if (rival.rival != none) throw_two_rules(verdict.rival, rival.rule, rival.rival);
    throw_tied(group);
  }

  const Claims& claims() const { return claims_; }

 private:
  TensorId group_of(SlotId slot) const { return catalog_.groups[graph_.nodes[graph_.slots[slot].target].tensor]; }
  Rank rank(RuleId rule) const { return rules_[rule].where.rank; }

  void weigh(SlotId slot) {
    const Claim& claim = claims_.slots()[slot];
    Verdict& verdict = verdicts_[group_of(slot)];
    if (verdict.slot == none || rank(verdict.rule) < rank(claim.rule)) {
      verdict = {slot, claim.rule, claim.rival == none ? none : slot};
    } else if (rank(verdict.rule) == rank(claim.rule) &&
               (rules_[verdict.rule].mode != rules_[claim.rule].mode || claim.rival != none)) {
      verdict.rival = slot;
    }
  }

  [[noreturn]] void throw_two_rules(SlotId slot, RuleId first, RuleId second) const {
    const Rule &a = rules_[std::min(first, second)], &b = rules_[std::max(first, second)];
    throw PlanError("clone: slot '" + Paths(graph_).path(slot) + "': " + std::string(to_string(a.mode)) + " and " +
                    std::string(to_string(b.mode)) + " both name it (" + rule_text(a) + ", " + rule_text(b) +
                    "); name it in one of them, or by its exact path in the one that should win");
  }

  [[noreturn]] void throw_tied(TensorId group) const {
    const Paths paths(graph_);
    std::string message = "clone: tied slots are given different modes: ";
    bool first = true;
    for (const SlotId slot : paths.slots()) {
      const NodeId target = graph_.slots[slot].target;
      if (target == none || graph_.nodes[target].tensor == none || group_of(slot) != group) continue;
      if (!std::exchange(first, false)) message += ", ";
      message += "'" + paths.path(slot) + "'";
      const RuleId rule = claims_.slots()[slot].rule;
      if (rule != none && rank(rule) == rank(verdicts_[group].rule)) message += " (" + rule_text(rules_[rule]) + ")";
    }
    throw PlanError(message + "; tied tensors move together: give them one mode, or name one of them more narrowly");
  }

  const Graph& graph_;
  const Catalog& catalog_;
  const std::vector<Rule>& rules_;
  const Claims claims_;
  std::vector<Verdict> verdicts_;  // by group
};

/// The path of a tensor's first slot.
std::string path_of_tensor(const Graph& graph, TensorId id) { return path_towards(graph, graph.tensors[id].node); }

/// What a mode cannot do with a tensor that is not plain bytes.
void check_modes(const Graph& graph, const Plan& plan, const Rules& rules) {
  for (TensorId id = 0; id < graph.tensors.size(); ++id) {
    const Mode mode = plan.tensors[id].mode;
    if (mode == Mode::copy || mode == Mode::share || mode == Mode::lazy) continue;
    const Tensor& tensor = graph.tensors[id];
    if (mode == Mode::differentiable && !tensor.value.requires_grad()) continue;  // a copy like any other
    const bool can = !tensor.opaque && (mode == Mode::alias || has_bytes(tensor.value) || tensor.value.is_meta());
    if (can) continue;
    throw PlanError("clone: slot '" + path_of_tensor(graph, id) +
                    "': " + rule_text(rules.modes[plan.tensors[id].rule]) + " cannot apply to it: " +
                    (tensor.opaque ? "it is of a tensor subclass that clones itself" : "it is sparse or quantized") +
                    "; name it in copy or share, by its exact path");
  }
}

/// What autograd has computed and a parameter slot holds, as in a differentiable clone, is a parameter again in a clone
/// that has its own of it.
void mark_trained(const Graph& graph, Plan& plan) {
  const auto parameter_of = [&](std::size_t i) {
    if (i >= graph.slots.size()) return none;
    const Slot& slot = graph.slots[i];
    return slot.kind == SlotKind::parameter && slot.target != none ? graph.nodes[slot.target].tensor : none;
  };
  for (std::size_t i = 0; i < graph.slots.size(); ++i) {
    if (const TensorId later = parameter_of(i + 12); later != none) fetch(graph.tensors[later].value);
    if (const TensorId next = parameter_of(i + 6); next != none) fetch_autograd(graph.tensors[next].value);
    const TensorId id = parameter_of(i);
    if (id == none) continue;
    const at::Tensor& value = graph.tensors[id].value;
    if (plan.tensors[id].mode != Mode::share && !value.is_leaf()) plan.tensors[id].trains = value.requires_grad();
  }
}

/// Freezes what the selections name; a selection of everything, what of it is the clone's own.
void freeze(const Graph& graph, const Rules& rules, Plan& plan) {
  for (uint32_t i = 0; i < rules.freeze.size(); ++i) {
    const Selection& where = rules.freeze[i];
    const std::vector<SlotId> named = named_by(graph, where);
    bool any = false;
    for (const SlotId slot : named) {
      const TensorId id = graph.nodes[graph.slots[slot].target].tensor;
      Decision& decision = plan.tensors[id];
      if (decision.mode != Mode::share) {
        decision.freeze = i;
        any = true;
      } else if (where.rank != Rank::all) {
        const std::string why = decision.rule == none ? "kept" : rule_text(rules.modes[decision.rule]);
        throw PlanError("clone: slot '" + Paths(graph).path(slot) + "': freeze=" + where.text +
                        " names it, and it stays the source's own (" + why +
                        "): freezing it would freeze the source; copy it, or name less in freeze");
      }
    }
    if (!any && !named.empty()) {
      throw PlanError("clone: freeze=" + where.text +
                      " names everything of the clone's own, and there is nothing: all of it is shared or kept; "
                      "drop it, or share less");
    }
  }
}

void check_grads(const Graph& graph, const Plan& plan, const Rules& rules) {
  if (rules.device && rules.device->is_meta()) {
    throw PlanError("clone: grads cannot be copied to device=meta, where nothing has values; drop one of the two");
  }
  for (TensorId id = 0; id < graph.tensors.size(); ++id) {
    const Mode mode = plan.tensors[id].mode;
    if (mode != Mode::init && mode != Mode::meta) continue;
    throw PlanError("clone: slot '" + path_of_tensor(graph, id) + "': grads cannot be copied to it, for " +
                    rule_text(rules.modes[plan.tensors[id].rule]) +
                    " gives it values of its own or none; drop grads, " + "or that rule");
  }
}

/// An optimizer's state has no values where its parameter has none, and is lazy where that is; what it is tied to
/// counts.
void follow_parameters(const Graph& graph, const Catalog& catalog, Plan& plan) {
  const auto mode_of_parameter = [&](TensorId id) {
    const TensorId parameter = graph.tensors[id].follows;
    return parameter == none ? Mode::copy : plan.tensors[parameter].mode;
  };
  std::vector<bool> copied(graph.tensors.size());  // by group: whether something in it is no state that could be lazy
  for (TensorId id = 0; id < graph.tensors.size(); ++id) {
    const bool stays = plan.tensors[id].mode == Mode::copy && mode_of_parameter(id) != Mode::lazy;
    if (stays) copied[catalog.groups[id]] = true;
  }
  for (TensorId id = 0; id < graph.tensors.size(); ++id) {
    const Mode mode = mode_of_parameter(id);
    if (plan.tensors[id].mode != Mode::copy) continue;
    if (mode == Mode::meta) plan.tensors[id] = plan.tensors[graph.tensors[id].follows];
    if (mode == Mode::lazy && !copied[catalog.groups[id]]) plan.tensors[id].mode = Mode::lazy;
  }
}

}  // namespace

Plan plan(const Graph& graph, const Catalog& catalog, const Rules& rules) {
  check_refusals(graph);
  const std::vector<bool> held = held_groups(graph, catalog);
  check_held(graph, catalog, rules, held);
  Plan result;
  result.tensors.resize(graph.tensors.size());
  std::optional<Verdicts> verdicts;
  if (!rules.modes.empty()) verdicts.emplace(graph, catalog, rules);
  for (TensorId id = 0; id < graph.tensors.size(); ++id) {
    Decision& decision = result.tensors[id];
    decision.held = held[catalog.groups[id]];
    if (decision.held) {
      decision.mode = Mode::share;
    } else if (verdicts) {
      decision.rule = verdicts->of(catalog.groups[id]);
      if (decision.rule != none) decision.mode = rules.modes[decision.rule].mode;
      const bool untied = graph.tensors[id].part != 0;
      if (untied && (decision.mode == Mode::share || decision.mode == Mode::alias)) decision.mode = Mode::copy;
    }
  }
  if (verdicts) follow_parameters(graph, catalog, result);
  if (verdicts) check_modes(graph, result, rules);
  if (verdicts || rules.initializer) plan_init(graph, catalog, verdicts ? &verdicts->claims() : nullptr, rules, result);
  mark_trained(graph, result);
  freeze(graph, rules, result);
  result.grads = rules.grads;
  if (rules.grads) check_grads(graph, result, rules);
  if (verdicts) check_differentiable(graph, rules, result);
  if (rules.device || rules.dtype) convert(graph, catalog, rules, result);
  lay_out(graph, result);
  return result;
}

}  // namespace ramet::core
