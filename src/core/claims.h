/// Which rule each tensor slot gets, before ties are considered. Private to the core.
#pragma once

#include <ramet/plan.h>

#include <map>

#include "core/beneath.h"

namespace ramet::core {

/// The narrowest rule that names a slot, and one that disagrees with it at the same rank.
struct Claim {
  RuleId rule = none;
  RuleId rival = none;     ///< `none` if no rule of that rank disagrees.
  NodeId claimant = none;  ///< The module through which the rule names the slot, if it does so through one.
};

/// Resolves rules slot by slot: the higher rank wins; among types and among modules the one within the other.
class Claims {
 public:
  Claims(const Graph& graph, const Rules& rules);

  /// By SlotId; only slots that hold tensors have any.
  const std::vector<Claim>& slots() const { return claims_; }

 private:
  void claim_kinds(Rank rank);
  void claim_modules(Rank rank);
  void claim_slots(Rank rank);
  void flood(NodeId module, RuleId rule);
  void claim(SlotId slot, RuleId rule, NodeId claimant);
  void settle();
  bool within(NodeId inner, NodeId outer);

  const Graph& graph_;
  const std::vector<Rule>& rules_;
  Beneath beneath_;
  std::vector<Claim> claims_;
  std::map<SlotId, std::vector<Claim>> contested_;  // of the present rank, beside the one in claims_
  std::vector<bool> named_;                         // by NodeId: modules that a rule of the present rank names
  std::map<std::pair<NodeId, NodeId>, bool> within_;
};

}  // namespace ramet::core
