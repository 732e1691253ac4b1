/// Lists the ties of a graph: modules and tensors with several registered slots, and tensors with bytes in common.
#include <ramet/catalog.h>
#include <ramet/paths.h>

#include <algorithm>
#include <map>

#include "core/runs.h"

namespace ramet::core {
namespace {

int64_t byte_size(const at::Tensor& tensor) { return tensor.numel() * static_cast<int64_t>(tensor.element_size()); }

/// The bytes that at least `least` of the tensors use.
int64_t covered(const std::vector<at::Tensor>& tensors, int least) {
  std::map<const void*, std::vector<std::pair<int64_t, int>>> edges;  // by storage: where a run begins and ends
  int64_t bytes = 0;
  for (const at::Tensor& tensor : tensors) {
    if (tensor.numel() == 0) continue;
    if (!has_bytes(tensor)) {
      if (least == 1) bytes += byte_size(tensor);
      continue;
    }
    auto& list = edges[tensor.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl()];
    const Runs runs(tensor);
    for (const int64_t start : runs.starts(runs.begin, runs.end())) {
      list.emplace_back(start, 1);
      list.emplace_back(start + runs.length, -1);
    }
  }
  for (auto& [storage, list] : edges) {
    std::sort(list.begin(), list.end());
    int open = 0;
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (open >= least) bytes += list[i].first - list[i - 1].first;
      open += list[i].second;
    }
  }
  return bytes;
}

int64_t module_bytes(const Graph& graph, NodeId module) {
  std::vector<at::Tensor> tensors;
  std::vector<bool> met(graph.tensors.size());
  walk_beneath(graph, module, [&](NodeId node) {
    for (const Slot& slot : graph.slots_of(node)) {
      if (slot.target == none || slot.kind == SlotKind::back) continue;
      const TensorId id = graph.nodes[slot.target].tensor;
      if (id == none || met[id]) continue;
      met[id] = true;
      tensors.push_back(graph.tensors[id].value);
    }
    return true;
  });
  return covered(tensors, 1);
}

/// Lists the slots of each module and each group of tensors that has several.
class Ties {
 public:
  Ties(const Graph& graph, const std::vector<uint32_t>& groups)
      : graph_(graph), groups_(groups), registered_(graph.nodes.size()) {
    for (const Slot& slot : graph.slots) {
      if (slot.target != none && is_registered(slot.kind)) ++registered_[slot.target];
    }
  }

  std::vector<Tie> list() {
    for (SlotId id = 0; id < graph_.slots.size(); ++id) {
      if (listed(id)) slots_of_[key(graph_.slots[id].target)].push_back(id);
    }
    std::vector<Tie> ties;
    for (auto& [key, slots] : slots_of_) {
      if (slots.size() > 1) ties.push_back(tie(std::move(slots)));
    }
    if (!ties.empty()) sort(ties);
    return ties;
  }

 private:
  // What has one name only needs no place in a map: most of a model.
  bool listed(SlotId id) const {
    const Slot& slot = graph_.slots[id];
    if (slot.target == none || slot.name == none || slot.kind == SlotKind::back) return false;
    const Node& target = graph_.nodes[slot.target];
    if (target.kind == NodeKind::module) return slot.kind == SlotKind::child && registered_[slot.target] > 1;
    if (target.kind != NodeKind::tensor || graph_.tensors[target.tensor].value.numel() == 0) return false;
    return is_registered(slot.kind) || registered_[slot.target] == 0;
  }

  // Modules by node, tensors by group.
  uint64_t key(NodeId target) const {
    const TensorId tensor = graph_.nodes[target].tensor;
    return tensor == none ? uint64_t{target} << 32 : groups_[tensor];
  }

  Tie tie(std::vector<SlotId> slots) const {
    const NodeId first = graph_.slots[slots[0]].target;
    if (graph_.nodes[first].kind == NodeKind::module) {
      return {TieKind::module, std::move(slots), module_bytes(graph_, first)};
    }
    std::vector<NodeId> nodes;
    for (const SlotId id : slots) nodes.push_back(graph_.slots[id].target);
    std::sort(nodes.begin(), nodes.end());
    nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
    std::vector<at::Tensor> tensors;
    for (const NodeId node : nodes) tensors.push_back(graph_.tensors[graph_.nodes[node].tensor].value);
    if (tensors.size() == 1) return {TieKind::tensor, std::move(slots), covered(tensors, 1)};
    return {TieKind::storage, std::move(slots), covered(tensors, 2)};
  }

  void sort(std::vector<Tie>& ties) const {
    const Paths paths(graph_);
    std::vector<uint32_t> place(graph_.slots.size(), none);
    for (uint32_t i = 0; i < paths.slots().size(); ++i) place[paths.slots()[i]] = i;
    const auto before = [&](SlotId a, SlotId b) { return place[a] < place[b]; };
    for (Tie& tie : ties) {
      std::erase_if(tie.slots, [&](SlotId id) { return place[id] == none; });
      std::sort(tie.slots.begin(), tie.slots.end(), before);
    }
    std::erase_if(ties, [](const Tie& tie) { return tie.slots.size() < 2; });
    std::sort(ties.begin(), ties.end(), [&](const Tie& a, const Tie& b) { return before(a.slots[0], b.slots[0]); });
  }

  const Graph& graph_;
  const std::vector<uint32_t>& groups_;
  std::vector<uint32_t> registered_;  // by NodeId: how many registered slots hold it
  std::unordered_map<uint64_t, std::vector<SlotId>> slots_of_;
};

}  // namespace

Catalog catalog(const Graph& graph) {
  Catalog result;
  result.groups = groups(graph);
  result.ties = Ties(graph, result.groups).list();
  return result;
}

}  // namespace ramet::core
