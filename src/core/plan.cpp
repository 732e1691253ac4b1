/// Decides the mode of every tensor, with every error that rules can have.
#include <ramet/errors.h>
#include <ramet/plan.h>

#include <algorithm>

#include "core/blocks.h"
#include "core/claims.h"

namespace ramet::core {
namespace {

std::string rule_text(const Rule& rule) { return std::string(to_string(rule.mode)) + "=" + rule.where.text; }

void check_refusals(const Graph& graph) {
  for (const Refusal& refusal : graph.refusals) {
    if (graph.nodes[refusal.node].fate != Fate::refused) continue;
    const std::string path = Paths(graph).path_of(refusal.node);
    std::string message = "clone: slot '" + path + "': " + refusal.reason;
    if (!path.empty()) message += "; keep='" + path + "' lets the clone hold the source's own";
    throw UncloneableError(message);
  }
}

/// A rule that singles out what a boundary keeps whole can only be a mistake.
void check_held(const Graph& graph, const Rules& rules) {
  const auto held = [&](NodeId node) { return graph.nodes[node].fate == Fate::held; };
  for (const Rule& rule : rules.modes) {
    const Selection& where = rule.where;
    if (where.rank < Rank::module || (where.under.empty() && where.slots.empty())) continue;
    const bool all_held = std::all_of(where.under.begin(), where.under.end(), held) &&
                          std::all_of(where.slots.begin(), where.slots.end(), [&](SlotId id) {
                            return graph.slots[id].target != none && held(graph.slots[id].target);
                          });
    if (!all_held) continue;
    std::string kept;
    for (const Selection& keep : rules.keep) kept += (kept.empty() ? "keep=" : ", keep=") + keep.text;
    throw PlanError("clone: " + rule_text(rule) + " names what the clone keeps as the source's own object" +
                    (kept.empty() ? "" : " (" + kept + ")") + "; drop that rule, or keep less");
  }
}

/// The narrowest claim on any slot of a group of tied tensors.
struct Verdict {
  SlotId slot = none;
  Claim claim;
  SlotId rival = none;  // a slot whose claim of the same rank disagrees
};

[[noreturn]] void throw_two_rules(const Graph& graph, const Rules& rules, SlotId slot, RuleId first, RuleId second) {
  const Rule &a = rules.modes[std::min(first, second)], &b = rules.modes[std::max(first, second)];
  throw PlanError("clone: slot '" + Paths(graph).path(slot) + "': " + std::string(to_string(a.mode)) + " and " +
                  std::string(to_string(b.mode)) + " both name it (" + rule_text(a) + ", " + rule_text(b) +
                  "); name it in one of them, or by its exact path in the one that should win");
}

[[noreturn]] void throw_tied(const Graph& graph, const Rules& rules, const std::vector<Claim>& claims,
                             const std::vector<SlotId>& tied, Rank rank) {
  const Paths paths(graph);
  std::string message = "clone: tied slots are given different modes: ";
  bool first = true;
  for (const SlotId slot : paths.slots()) {
    if (std::find(tied.begin(), tied.end(), slot) == tied.end()) continue;
    const RuleId rule = claims[slot].rule;
    if (!std::exchange(first, false)) message += ", ";
    message += "'" + paths.path(slot) + "'";
    if (rule != none && rules.modes[rule].where.rank == rank) message += " (" + rule_text(rules.modes[rule]) + ")";
  }
  throw PlanError(message + "; tied tensors move together: give them one mode, or name one of them more narrowly");
}

/// Reduces the claims on slots to one verdict a group, and sets the tensors' decisions.
void decide(const Graph& graph, const Catalog& catalog, const Rules& rules, Plan& plan) {
  const Claims claims(graph, rules);
  std::vector<Verdict> verdicts(graph.tensors.size());
  std::vector<bool> held(graph.tensors.size());
  const auto group_of = [&](SlotId slot) {
    const NodeId target = graph.slots[slot].target;
    return target == none || graph.nodes[target].tensor == none ? none : catalog.groups[graph.nodes[target].tensor];
  };
  for (TensorId id = 0; id < graph.tensors.size(); ++id) {
    if (graph.nodes[graph.tensors[id].node].fate == Fate::held) held[catalog.groups[id]] = true;
  }
  const auto rank = [&](const Claim& claim) { return rules.modes[claim.rule].where.rank; };
  const auto mode = [&](const Claim& claim) { return rules.modes[claim.rule].mode; };
  for (SlotId slot = 0; slot < graph.slots.size(); ++slot) {
    const Claim& claim = claims.slots()[slot];
    if (claim.rule == none) continue;
    Verdict& verdict = verdicts[group_of(slot)];
    if (verdict.slot == none || rank(verdict.claim) < rank(claim)) {
      verdict = {slot, claim, claim.rival == none ? none : slot};
    } else if (rank(verdict.claim) == rank(claim) && (mode(verdict.claim) != mode(claim) || claim.rival != none)) {
      verdict.rival = slot;
    }
  }
  const auto tied_slots = [&](TensorId group) {
    std::vector<SlotId> result;
    for (SlotId slot = 0; slot < graph.slots.size(); ++slot) {
      if (group_of(slot) == group) result.push_back(slot);
    }
    return result;
  };
  for (TensorId id = 0; id < graph.tensors.size(); ++id) {
    const TensorId group = catalog.groups[id];
    const Verdict& verdict = verdicts[group];
    if (verdict.rival != none && !held[group]) {
      const Claim& rival = claims.slots()[verdict.rival];
      if (rival.rival != none) throw_two_rules(graph, rules, verdict.rival, rival.rule, rival.rival);
      throw_tied(graph, rules, claims.slots(), tied_slots(group), rank(verdict.claim));
    }
    Decision& decision = plan.tensors[id];
    decision.held = held[group];
    if (verdict.slot != none) decision.rule = verdict.claim.rule;
    if (decision.held) {
      decision.rule = none;
      decision.mode = Mode::share;
    } else if (decision.rule != none) {
      decision.mode = rules.modes[decision.rule].mode;
    }
  }
}

}  // namespace

Plan plan(const Graph& graph, const Catalog& catalog, const Rules& rules) {
  check_refusals(graph);
  check_held(graph, rules);
  Plan result;
  result.tensors.resize(graph.tensors.size());
  decide(graph, catalog, rules, result);
  lay_out(graph, result);
  return result;
}

}  // namespace ramet::core
