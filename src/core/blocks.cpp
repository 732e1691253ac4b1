/// Lays out the storages that a plan copies: whole, or compacted to what is in use where that is less than half.
#include "core/blocks.h"

#include <algorithm>
#include <map>

namespace ramet::core {
namespace {

// A range keeps its place modulo the largest item size; ranges stand apart by a cache line.
constexpr int64_t item_alignment = 16, range_alignment = 64;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// The bytes that a tensor uses, from a place on that suits every item size.
Extent aligned_extent(const at::Tensor& tensor) {
  const Extent used = extent(tensor);
  return {used.begin / item_alignment * item_alignment, used.end};
}

/// Sorts and merges extents, and drops empty ones.
void merge(std::vector<Extent>& extents) {
  std::erase_if(extents, [](const Extent& extent) { return extent.begin == extent.end; });
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  std::size_t last = 0;
  for (std::size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].begin <= extents[last].end) {
      extents[last].end = std::max(extents[last].end, extents[i].end);
    } else {
      extents[++last] = extents[i];
    }
  }
  if (!extents.empty()) extents.resize(last + 1);
}

/// Adds a block for `storage`, of which `used` is in use: sorted, disjoint.
BlockId add_block(Plan& plan, c10::StorageImpl* storage, std::span<const Extent> used) {
  const auto nbytes = static_cast<int64_t>(storage->nbytes());
  Block block{storage, storage->device(), 0, static_cast<uint32_t>(plan.ranges.size()), 0};
  int64_t reached = 0;
  for (const Extent& extent : used) reached += extent.end - extent.begin;
  const bool outside = !used.empty() && used.back().end > nbytes;
  if (reached * 2 >= nbytes || outside) {
    plan.ranges.push_back({0, nbytes, 0});
    block.bytes = nbytes;
  } else {
    for (const Extent& extent : used) {
      const int64_t at = round_up(block.bytes, range_alignment);
      plan.ranges.push_back({extent.begin, extent.end, at});
      block.bytes = at + extent.end - extent.begin;
    }
  }
  block.count = static_cast<uint32_t>(plan.ranges.size()) - block.first;
  plan.blocks.push_back(block);
  return static_cast<BlockId>(plan.blocks.size() - 1);
}

int64_t place(const Plan& plan, const Block& block, int64_t begin) {
  const auto first = plan.ranges.begin() + block.first, last = first + block.count;
  const auto it = std::upper_bound(first, last, begin, [](int64_t at, const Range& range) { return at < range.begin; });
  return it == first ? 0 : std::prev(it)->at + begin - std::prev(it)->begin;
}

}  // namespace

void lay_out(const Graph& graph, Plan& plan) {
  // Storages that several tensors hold, by part, in walk order: no order of addresses shows.
  std::map<std::pair<const c10::StorageImpl*, uint32_t>, std::size_t> known;
  std::vector<std::vector<TensorId>> together;
  plan.blocks.reserve(graph.tensors.size());
  plan.ranges.reserve(graph.tensors.size());
  for (TensorId id = 0; id < graph.tensors.size(); ++id) {
    const Tensor& tensor = graph.tensors[id];
    Decision& decision = plan.tensors[id];
    if (decision.mode != Mode::copy || tensor.opaque || !has_bytes(tensor.value)) continue;
    const c10::Storage& storage = tensor.value.unsafeGetTensorImpl()->unsafe_storage();
    if (storage.use_count() > 1) {
      const auto [it, added] = known.try_emplace({storage.unsafeGetStorageImpl(), tensor.part}, together.size());
      if (added) together.emplace_back();
      together[it->second].push_back(id);
      continue;
    }
    const Extent used = aligned_extent(tensor.value);
    decision.block = add_block(plan, storage.unsafeGetStorageImpl(), {&used, used.begin == used.end ? 0u : 1u});
    decision.offset = place(plan, plan.blocks[decision.block], extent(tensor.value).begin);
  }
  for (const std::vector<TensorId>& ids : together) {
    std::vector<Extent> used;
    for (const TensorId id : ids) used.push_back(aligned_extent(graph.tensors[id].value));
    merge(used);
    const at::Tensor& first = graph.tensors[ids[0]].value;
    const BlockId block = add_block(plan, first.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl(), used);
    for (const TensorId id : ids) {
      plan.tensors[id].block = block;
      plan.tensors[id].offset = place(plan, plan.blocks[block], extent(graph.tensors[id].value).begin);
    }
  }
}

}  // namespace ramet::core
