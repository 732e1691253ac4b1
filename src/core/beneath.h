/// The walk of `walk_beneath`, for many walks over one graph: each costs what it visits. Private to the core.
#pragma once

#include <ramet/graph.h>

namespace ramet::core {

class Beneath {
 public:
  explicit Beneath(const Graph& graph) : graph_(graph), met_(graph.nodes.size()) {}

  /// As `walk_beneath`.
  template <class Enter>
  void walk(NodeId module, const Enter& enter) {
    ++round_;
    met_[module] = round_;
    work_.assign(1, module);
    while (!work_.empty()) {
      const NodeId node = work_.back();
      work_.pop_back();
      if (!enter(node)) continue;
      for (const Slot& slot : graph_.slots_of(node)) {
        if (slot.target == none || met_[slot.target] == round_ || slot.kind == SlotKind::back) continue;
        const Node& target = graph_.nodes[slot.target];
        if (target.kind == NodeKind::tensor && target.count == 0) continue;
        if (target.kind == NodeKind::module && slot.kind == SlotKind::state) continue;
        met_[slot.target] = round_;
        work_.push_back(slot.target);
      }
    }
  }

 private:
  const Graph& graph_;
  std::vector<uint32_t> met_;  // by NodeId: the last walk that met it
  uint32_t round_ = 0;
  std::vector<NodeId> work_;
};

}  // namespace ramet::core
