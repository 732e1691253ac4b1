/// Resolves rules slot by slot. Each named module floods what is beneath it and stops at the next named one, so that a
/// model in which every module is named costs no more than one in which the root is.
#include "core/claims.h"

#include <algorithm>

namespace ramet::core {

Claims::Claims(const Graph& graph, const Rules& rules)
    : graph_(graph), rules_(rules.modes), beneath_(graph), claims_(graph.slots.size()) {
  for (const Rank rank : {Rank::all, Rank::kind, Rank::type, Rank::module, Rank::tensor}) {
    if (std::none_of(rules_.begin(), rules_.end(), [&](const Rule& rule) { return rule.where.rank == rank; })) continue;
    if (rank == Rank::all || rank == Rank::kind) claim_kinds(rank);
    if (rank == Rank::type || rank == Rank::module) claim_modules(rank);
    claim_slots(rank);
    settle();
  }
}

void Claims::claim_kinds(Rank rank) {
  for (RuleId rule = 0; rule < rules_.size(); ++rule) {
    const Selection& where = rules_[rule].where;
    if (where.rank != rank) continue;
    for (SlotId id = 0; id < graph_.slots.size(); ++id) {
      const Slot& slot = graph_.slots[id];
      const bool named = rank == Rank::all ? slot.kind == SlotKind::parameter || slot.kind == SlotKind::buffer
                                           : slot.kind == where.kind;
      if (named) claim(id, rule, none);
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
  beneath_.walk(module, [&](NodeId node) {
    if (node != module && named_[node]) return false;
    const Node& owner = graph_.nodes[node];
    for (SlotId id = owner.first; id < owner.first + owner.count; ++id) {
      if (graph_.slots[id].kind != SlotKind::back) claim(id, rule, module);
    }
    return true;
  });
}

void Claims::claim(SlotId slot, RuleId rule, NodeId claimant) {
  const NodeId target = graph_.slots[slot].target;
  if (target == none || graph_.nodes[target].tensor == none) return;
  Claim& held = claims_[slot];
  const auto rank = [&](RuleId id) { return rules_[id].where.rank; };
  if (held.rule == none || rank(held.rule) < rank(rule)) {
    held = {rule, none, claimant};
  } else if (held.claimant != claimant || rules_[held.rule].mode != rules_[rule].mode) {
    contested_[slot].push_back({rule, none, claimant});
  }
}

// Of several claims of one rank those through the innermost modules count; they must agree.
void Claims::settle() {
  for (auto& [slot, others] : contested_) {
    std::vector<Claim>& rest = others;  // clang before 16 captures no structured binding
    rest.insert(rest.begin(), claims_[slot]);
    const auto outer = [&](const Claim& claim) {
      return std::any_of(rest.begin(), rest.end(), [&](const Claim& other) {
        return claim.claimant != none && other.claimant != none && claim.claimant != other.claimant &&
               within(other.claimant, claim.claimant) && !within(claim.claimant, other.claimant);
      });
    };
    std::vector<Claim> inner;
    std::remove_copy_if(rest.begin(), rest.end(), std::back_inserter(inner), outer);
    const auto rival = std::find_if(inner.begin(), inner.end(), [&](const Claim& claim) {
      return rules_[claim.rule].mode != rules_[inner[0].rule].mode;
    });
    claims_[slot] = inner[0];
    if (rival != inner.end()) claims_[slot].rival = rival->rule;
  }
  contested_.clear();
}

bool Claims::within(NodeId inner, NodeId outer) {
  const auto [it, added] = within_.try_emplace({inner, outer});
  if (added) {
    beneath_.walk(outer, [&, found = &it->second](NodeId node) {
      *found = *found || node == inner;
      return !*found;
    });
  }
  return it->second;
}

std::vector<SlotId> named_slots(const Graph& graph, const Rules& rules) {
  const Claims claims(graph, rules);
  std::vector<SlotId> result;
  for (SlotId slot = 0; slot < graph.slots.size(); ++slot) {
    if (claims.slots()[slot].rule != none) result.push_back(slot);
  }
  return result;
}

}  // namespace ramet::core
