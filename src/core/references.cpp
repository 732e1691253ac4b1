/// Follows slots backwards, through immutable objects, and forwards, from the root and from modules into plain state.
#include "core/references.h"

#include <algorithm>

namespace ramet::core {
namespace {

/// What immutable objects have in them of what is to be replaced, each looked into once.
class Carried {
 public:
  Carried(const Graph& graph, const Objects& objects, const Replacements& now)
      : graph_(graph), objects_(objects), now_(now) {}

  bool is_immutable(NodeId node) const {
    return graph_.nodes[node].kind == NodeKind::object && objects_.is_immutable(node);
  }

  std::vector<NodeId> by(NodeId node) {
    if (now_.count(node) != 0) return {node};
    if (!is_immutable(node)) return {};
    if (const auto it = known_.find(node); it != known_.end()) return it->second;
    std::vector<NodeId> found;
    for (const Slot& slot : graph_.slots_of(node)) {
      if (slot.target == none) continue;
      for (const NodeId old : by(slot.target)) {
        if (std::find(found.begin(), found.end(), old) == found.end()) found.push_back(old);
      }
    }
    return known_[node] = found;
  }

 private:
  const Graph& graph_;
  const Objects& objects_;
  const Replacements& now_;
  std::map<NodeId, std::vector<NodeId>> known_;
};

/// Visits `start` and all that slots lead to from there, each node once, where `follow(slot)` allows.
template <class Visit, class Follow>
void spread(const Graph& graph, NodeId start, const Visit& visit, const Follow& follow) {
  std::vector<bool> met(graph.nodes.size());
  std::vector<NodeId> work{start};
  met[start] = true;
  while (!work.empty()) {
    const NodeId node = work.back();
    work.pop_back();
    visit(node);
    for (const Slot& slot : graph.slots_of(node)) {
      if (slot.target == none || met[slot.target] || !follow(slot)) continue;
      met[slot.target] = true;
      work.push_back(slot.target);
    }
  }
}

}  // namespace

std::vector<Change> references(const Graph& graph, const Objects& objects, const Replacements& now) {
  std::vector<Change> result;
  Carried carried(graph, objects, now);
  for (SlotId id = 0; id < graph.slots.size(); ++id) {
    const Slot& slot = graph.slots[id];
    if (slot.target == none || carried.is_immutable(slot.owner)) continue;
    for (const NodeId old : carried.by(slot.target)) result.push_back({id, old, now.at(old)});
  }
  return result;
}

std::vector<Follower> followers(const Graph& graph, const std::vector<Change>& references) {
  std::map<NodeId, std::map<NodeId, SlotId>> leaders;  // by module, by what they hold
  std::map<NodeId, std::vector<Change>> plain;         // by owner
  for (const Change& change : references) {
    const Slot& slot = graph.slots[change.slot];
    if (is_registered(slot.kind)) {
      leaders[slot.owner].try_emplace(change.old, change.slot);
    } else {
      plain[slot.owner].push_back(change);
    }
  }
  std::vector<Follower> result;
  for (const auto& [module, first] : leaders) {
    const auto take = [&, &first = first](NodeId owner) {
      const auto held = plain.find(owner);
      if (held == plain.end()) return;
      std::erase_if(held->second, [&](const Change& change) {
        const auto leader = first.find(change.old);
        if (leader != first.end()) result.push_back({change, leader->second});
        return leader != first.end();
      });
    };
    spread(graph, module, take, [&](const Slot& slot) {
      return slot.kind == SlotKind::state && graph.nodes[slot.target].kind == NodeKind::object;
    });
  }
  return result;
}

void drop_unreached(const Graph& graph, const Replacements& now, std::vector<Change>& changes) {
  std::vector<bool> reached(graph.nodes.size());
  spread(
      graph, 0, [&](NodeId node) { reached[node] = true; },
      [&](const Slot& slot) { return slot.kind != SlotKind::back && now.count(slot.target) == 0; });
  std::erase_if(changes, [&](const Change& change) { return !reached[graph.slots[change.slot].owner]; });
}

std::vector<bool> registered_nodes(const Graph& graph) {
  std::vector<bool> result(graph.nodes.size());
  spread(
      graph, 0, [&](NodeId node) { result[node] = true; },
      [](const Slot& slot) { return slot.kind == SlotKind::child; });
  return result;
}

}  // namespace ramet::core
