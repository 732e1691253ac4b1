/// Decides the mode of every tensor, with every error that rules can have.
#include <ramet/errors.h>
#include <ramet/plan.h>

#include <algorithm>

#include "core/blocks.h"
#include "core/claims.h"

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
    if (path.empty()) throw UncloneableError("clone: the source itself: " + refusal.reason);
    throw UncloneableError("clone: slot '" + path + "': " + refusal.reason + "; keep='" + path +
                           "' lets the clone hold the source's own");
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

/// A rule that singles out what a boundary keeps can only be a mistake.
void check_held(const Graph& graph, const Catalog& catalog, const Rules& rules, const std::vector<bool>& held_groups) {
  const auto held = [&](NodeId node) {
    const TensorId tensor = graph.nodes[node].tensor;
    return graph.nodes[node].fate == Fate::held || (tensor != none && held_groups[catalog.groups[tensor]]);
  };
  for (const Rule& rule : rules.modes) {
    if (rule.where.rank < Rank::module) continue;
    std::vector<NodeId> named = rule.where.under;
    for (const SlotId slot : rule.where.slots) named.push_back(graph.slots[slot].target);
    std::erase(named, none);
    if (named.empty() || !std::all_of(named.begin(), named.end(), held)) continue;
    const std::string keep = keep_text(graph, catalog, rules, named[0]);
    throw PlanError("clone: " + rule_text(rule) + " names what " +
                    (keep.empty() ? "stays the source's own anyway; drop it"
                                  : keep + " already keeps whole; drop it, or keep less"));
  }
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
    }
  }
  lay_out(graph, result);
  return result;
}

}  // namespace ramet::core
