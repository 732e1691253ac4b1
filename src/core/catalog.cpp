/// Lists the ties of a graph: modules and tensors with several registered slots, and tensors with bytes in common.
#include <ramet/catalog.h>

#include <algorithm>
#include <tuple>

#include "core/beneath.h"
#include "core/fetch.h"
#include "core/runs.h"

namespace ramet::core {
namespace {

/// A wrapper's sizes are not looked at: asking may run user code.
bool is_wrapper(const at::Tensor& tensor) {
  return tensor.unsafeGetTensorImpl()->key_set().has(c10::DispatchKey::Python);
}

int64_t byte_size(const at::Tensor& tensor) {
  return is_wrapper(tensor) ? 0 : tensor.numel() * static_cast<int64_t>(tensor.element_size());
}

/// Where a run of bytes begins (+1) and ends (-1).
struct Edge {
  const c10::StorageImpl* storage;
  int64_t at;
  int step;
};

/// The bytes that at least `least` of the tensors use.
int64_t covered(const std::vector<at::Tensor>& tensors, int least) {
  std::vector<Edge> edges;
  int64_t bytes = 0;
  for (const at::Tensor& tensor : tensors) {
    if (byte_size(tensor) == 0) continue;
    if (!has_bytes(tensor)) {
      if (least == 1) bytes += byte_size(tensor);
      continue;
    }
    const c10::StorageImpl* storage = tensor.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl();
    const Runs runs(tensor);
    std::vector<int64_t> starts = runs.starts();
    std::sort(starts.begin(), starts.end());
    int64_t end = 0;  // of the tensor's bytes so far: one that overlaps itself counts once
    for (const int64_t start : starts) {
      edges.push_back({storage, std::max(start, end), 1});
      end = start + runs.length;
      edges.push_back({storage, end, -1});
    }
  }
  std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) {
    return std::tuple(reinterpret_cast<uintptr_t>(a.storage), a.at, a.step) <
           std::tuple(reinterpret_cast<uintptr_t>(b.storage), b.at, b.step);
  });
  int open = 0;
  for (std::size_t i = 0; i < edges.size(); ++i) {
    if (open >= least) bytes += edges[i].at - edges[i - 1].at;
    open += edges[i].step;
  }
  return bytes;
}

/// Measures modules, each tensor beneath one once.
class ModuleBytes {
 public:
  explicit ModuleBytes(const Graph& graph) : graph_(graph), beneath_(graph), met_(graph.tensors.size()) {}

  int64_t of(NodeId module) {
    ++round_;
    std::vector<at::Tensor> tensors;
    beneath_.walk(module, [&](NodeId node) {
      for (const Slot& slot : graph_.slots_of(node)) {
        if (slot.target == none || slot.kind == SlotKind::back) continue;
        const TensorId id = graph_.nodes[slot.target].tensor;
        if (id == none || std::exchange(met_[id], round_) == round_) continue;
        tensors.push_back(graph_.tensors[id].value);
      }
      return true;
    });
    return covered(tensors, 1);
  }

 private:
  const Graph& graph_;
  Beneath beneath_;
  std::vector<uint32_t> met_;  // by TensorId: the last module that it was met beneath
  uint32_t round_ = 0;
};

/// Lists the slots of each module and each group of tensors that has several.
class Ties {
 public:
  Ties(const Graph& graph, const std::vector<uint32_t>& groups)
      : graph_(graph), groups_(groups), registered_(graph.nodes.size()), names_(graph.nodes.size()) {
    for (const Slot& slot : graph.slots) {
      if (slot.target != none && is_registered(slot.kind)) ++registered_[slot.target];
    }
  }

  std::vector<Tie> list(const Paths* paths) {
    // Most of a model has one name only: what has is counted, and not collected.
    bool any = false;
    for (SlotId id = 0; id < graph_.slots.size(); ++id) {
      if (may_be_listed(id) && ++names_[key(graph_.slots[id].target)] > 1) any = true;
    }
    std::vector<Tie> ties;
    if (!any) return ties;
    std::optional<Paths> own;
    if (paths == nullptr) paths = &own.emplace(graph_);
    std::vector<uint32_t> tie_of(graph_.nodes.size(), none);  // by key
    const std::vector<SlotId>& order = paths->slots();
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i + 8 < order.size()) fetch_target(order[i + 8]);
      const SlotId id = order[i];
      const NodeId target = graph_.slots[id].target;
      if (target == none || names_[key(target)] < 2 || !is_listed(id)) continue;
      uint32_t& tie = tie_of[key(target)];
      if (tie == none) {
        tie = static_cast<uint32_t>(ties.size());
        ties.emplace_back();
      }
      ties[tie].slots.push_back(id);
    }
    std::erase_if(ties, [](const Tie& tie) { return tie.slots.size() < 2; });
    ModuleBytes modules(graph_);
    for (Tie& tie : ties) measure(tie, modules);
    return ties;
  }

 private:
  // A tensor's group goes by the node of its first tensor.
  NodeId key(NodeId target) const {
    const TensorId tensor = graph_.nodes[target].tensor;
    return tensor == none ? target : graph_.tensors[groups_[tensor]].node;
  }

  bool may_be_listed(SlotId id) const {
    const Slot& slot = graph_.slots[id];
    if (slot.target == none || slot.name == none || slot.kind == SlotKind::back) return false;
    const NodeKind kind = graph_.nodes[slot.target].kind;
    if (kind == NodeKind::module) return slot.kind == SlotKind::child;
    return kind == NodeKind::tensor && (is_registered(slot.kind) || registered_[slot.target] == 0);
  }

  bool is_listed(SlotId id) const {
    if (!may_be_listed(id)) return false;
    const TensorId tensor = graph_.nodes[graph_.slots[id].target].tensor;
    if (tensor == none) return true;
    const at::Tensor& value = graph_.tensors[tensor].value;
    return is_wrapper(value) || value.numel() != 0;
  }

  void fetch_target(SlotId id) const {
    const NodeId target = graph_.slots[id].target;
    const TensorId tensor = target == none ? none : graph_.nodes[target].tensor;
    if (tensor != none) fetch(graph_.tensors[tensor].value);
  }

  void measure(Tie& tie, ModuleBytes& modules) const {
    const NodeId first = graph_.slots[tie.slots[0]].target;
    if (graph_.nodes[first].kind == NodeKind::module) {
      tie.kind = TieKind::module;
      tie.nbytes = modules.of(first);
      return;
    }
    if (std::ranges::all_of(tie.slots, [&](SlotId id) { return graph_.slots[id].target == first; })) {
      const at::Tensor& tensor = graph_.tensors[graph_.nodes[first].tensor].value;
      const bool each_once = !has_bytes(tensor) || tensor.is_non_overlapping_and_dense();
      tie.nbytes = each_once ? byte_size(tensor) : covered({tensor}, 1);
      return;
    }
    std::vector<NodeId> nodes;
    for (const SlotId id : tie.slots) nodes.push_back(graph_.slots[id].target);
    std::sort(nodes.begin(), nodes.end());
    nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
    std::vector<at::Tensor> tensors;
    for (const NodeId node : nodes) tensors.push_back(graph_.tensors[graph_.nodes[node].tensor].value);
    tie.kind = TieKind::storage;
    tie.nbytes = covered(tensors, 2);
  }

  const Graph& graph_;
  const std::vector<uint32_t>& groups_;
  std::vector<uint32_t> registered_;  // by NodeId: how many registered slots hold it
  std::vector<uint32_t> names_;       // by key: how many slots may be listed
};

Catalog listed(const Graph& graph, const Paths* paths) {
  Catalog result;
  result.groups = groups(graph);
  result.ties = Ties(graph, result.groups).list(paths);
  return result;
}

}  // namespace

std::string_view to_string(TieKind kind) {
  constexpr std::string_view words[] = {"module", "tensor", "storage"};
  return words[static_cast<std::size_t>(kind)];
}

Catalog catalog(const Graph& graph) { return listed(graph, nullptr); }

Catalog catalog(const Graph& graph, const Paths& paths) { return listed(graph, &paths); }

}  // namespace ramet::core
