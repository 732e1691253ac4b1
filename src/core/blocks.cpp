/// Lays out the storages that a plan copies: whole, or compacted to what is in use where that is less than half.
#include "core/blocks.h"

#include <algorithm>
#include <map>

namespace ramet::core {
namespace {

// A range keeps its place modulo the largest item size; ranges stand apart by a cache line.
constexpr int64_t item_alignment = 16, range_alignment = 64;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// Sorted, merged and aligned.
std::vector<Extent> merged(std::vector<Extent> extents) {
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  std::vector<Extent> result;
  for (Extent next : extents) {
    if (next.begin == next.end) continue;
    next.begin = next.begin / item_alignment * item_alignment;
    if (!result.empty() && next.begin <= result.back().end) {
      result.back().end = std::max(result.back().end, next.end);
    } else {
      result.push_back(next);
    }
  }
  return result;
}

/// Gives a block its ranges and its size.
void add_ranges(Plan& plan, Block& block, const std::vector<Extent>& used) {
  const auto nbytes = static_cast<int64_t>(block.source->nbytes());
  int64_t reached = 0;
  for (const Extent& extent : used) reached += extent.end - extent.begin;
  block.first = static_cast<uint32_t>(plan.ranges.size());
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
}

int64_t place(const Plan& plan, const Block& block, int64_t begin) {
  const auto first = plan.ranges.begin() + block.first, last = first + block.count;
  const auto it = std::upper_bound(first, last, begin, [](int64_t at, const Range& range) { return at < range.begin; });
  return it == first ? 0 : std::prev(it)->at + begin - std::prev(it)->begin;
}

}  // namespace

void lay_out(const Graph& graph, Plan& plan) {
  std::map<std::pair<const c10::StorageImpl*, uint32_t>, BlockId> block_of;
  std::map<BlockId, std::vector<TensorId>> together;
  const auto add_block = [&](c10::StorageImpl* storage) {
    plan.blocks.push_back({storage, storage->device(), 0, 0, 0});
    return static_cast<BlockId>(plan.blocks.size() - 1);
  };
  for (TensorId id = 0; id < graph.tensors.size(); ++id) {
    const Tensor& tensor = graph.tensors[id];
    Decision& decision = plan.tensors[id];
    if (decision.mode != Mode::copy || tensor.opaque || !has_bytes(tensor.value)) continue;
    const c10::Storage& storage = tensor.value.unsafeGetTensorImpl()->unsafe_storage();
    if (storage.use_count() > 1) {
      const auto [it, added] = block_of.try_emplace({storage.unsafeGetStorageImpl(), tensor.part});
      if (added) it->second = add_block(storage.unsafeGetStorageImpl());
      decision.block = it->second;
      together[it->second].push_back(id);
      continue;
    }
    decision.block = add_block(storage.unsafeGetStorageImpl());
    const Extent extent = core::extent(tensor.value);
    add_ranges(plan, plan.blocks.back(), merged({extent}));
    decision.offset = place(plan, plan.blocks.back(), extent.begin);
  }
  for (const auto& [block, ids] : together) {
    std::vector<Extent> used;
    for (const TensorId id : ids) used.push_back(extent(graph.tensors[id].value));
    add_ranges(plan, plan.blocks[block], merged(std::move(used)));
    for (const TensorId id : ids) {
      plan.tensors[id].offset = place(plan, plan.blocks[block], extent(graph.tensors[id].value).begin);
    }
  }
}

}  // namespace ramet::core
