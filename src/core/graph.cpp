/// What lies beneath a module of a Graph. Everything else about graphs is in the header.
#include <ramet/graph.h>

namespace ramet::core {

void walk_beneath(const Graph& graph, NodeId module, const std::function<bool(NodeId)>& enter) {
  std::vector<bool> met(graph.nodes.size());
  std::vector<NodeId> work{module};
  met[module] = true;
  while (!work.empty()) {
    const NodeId node = work.back();
    work.pop_back();
    if (!enter(node)) continue;
    for (const Slot& slot : graph.slots_of(node)) {
      if (slot.target == none || met[slot.target] || slot.kind == SlotKind::back) continue;
      const NodeKind kind = graph.nodes[slot.target].kind;
      if (kind == NodeKind::tensor || (kind == NodeKind::module && slot.kind == SlotKind::state)) continue;
      met[slot.target] = true;
      work.push_back(slot.target);
    }
  }
}

}  // namespace ramet::core
