/// Resolves rules slot by slot. Each named module floods what is beneath it and stops at the next named one, so that a
/// model in which every module is named costs no more than one in which the root is.
#include "core/claims.h"

namespace ramet::core {

Claims::Claims(const Graph& graph, const Rules& rules)
    : graph_(graph), rules_(rules.modes), claims_(graph.slots.size()) {
  if (rules_.empty()) return;
  claim_kinds();
  claim_modules(Rank::type);
  claim_modules(Rank::module);
  claim_slots(Rank::module);
  claim_slots(Rank::tensor);
}

void Claims::claim_kinds() {
  for (const Rank rank : {Rank::all, Rank::kind}) {
    for (RuleId rule = 0; rule < rules_.size(); ++rule) {
      const Selection& where = rules_[rule].where;
      if (where.rank != rank) continue;
      for (SlotId id = 0; id < graph_.slots.size(); ++id) {
        const Slot& slot = graph_.slots[id];
        const bool named = rank == Rank::all ? slot.kind == SlotKind::parameter || slot.kind == SlotKind::buffer
                                             : slot.kind == where.kind;
        if (named && slot.target != none) claim(id, rule, none);
      }
    }
  }
}

void Claims::claim_modules(Rank rank) {
  named_.assign(graph_.nodes.size(), false);
  for (const Rule& rule : rules_) {
    if (rule.where.rank != rank) continue;
    for (const NodeId module : rule.where.under) named_[module] = true;
  }
  for (RuleId rule = 0; rule < rules_.size(); ++rule) {
    if (rules_[rule].where.rank != rank) continue;
    for (const NodeId module : rules_[rule].where.under) flood(module, rule);
  }
}

void Claims::claim_slots(Rank rank) {
  for (RuleId rule = 0; rule < rules_.size(); ++rule) {
    if (rules_[rule].where.rank != rank) continue;
    for (const SlotId slot : rules_[rule].where.slots) claim(slot, rule, none);
  }
}

void Claims::flood(NodeId module, RuleId rule) {
  walk_beneath(graph_, module, [&](NodeId node) {
    if (node != module && named_[node]) return false;
    const Node& owner = graph_.nodes[node];
    for (SlotId id = owner.first; id < owner.first + owner.count; ++id) {
      const Slot& slot = graph_.slots[id];
      if (slot.target == none || slot.kind == SlotKind::back) continue;
      if (graph_.nodes[slot.target].kind == NodeKind::tensor) claim(id, rule, module);
    }
    return true;
  });
}

void Claims::claim(SlotId slot, RuleId rule, NodeId claimant) {
  Claim& held = claims_[slot];
  const auto rank = [&](RuleId id) { return rules_[id].where.rank; };
  if (held.rule == none || rank(held.rule) < rank(rule)) {
    held = {rule, none, claimant};
    return;
  }
  if (rules_[held.rule].mode == rules_[rule].mode && held.rival == none) return;
  const bool both_modules = held.claimant != none && claimant != none && held.claimant != claimant;
  const bool inner = both_modules && within(claimant, held.claimant);
  const bool outer = both_modules && within(held.claimant, claimant);
  if (inner && !outer) {
    held = {rule, none, claimant};
  } else if (!(outer && !inner) && rules_[held.rule].mode != rules_[rule].mode) {
    held.rival = rule;
  }
}

bool Claims::within(NodeId inner, NodeId outer) {
  const auto [it, added] = within_.try_emplace({inner, outer});
  if (added) {
    walk_beneath(graph_, outer, [&, found = &it->second](NodeId node) {
      *found = *found || node == inner;
      return !*found;
    });
  }
  return it->second;
}

}  // namespace ramet::core
