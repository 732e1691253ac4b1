/// Lays out the storages that a plan copies: whole, or compacted to what is in use where that is less than half. Lazy
/// ones are whole, and take no memory.
#include "core/blocks.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "core/fetch.h"
#include "core/lazy.h"

namespace ramet::core {
namespace {

// A range keeps its place modulo the largest item size; ranges stand apart by a cache line.
constexpr int64_t item_alignment = 16, range_alignment = 64;

// A larger one is not held lazily for the sake of less than half of it: it would stay whole, and be copied whole.
constexpr int64_t small_storage = 1 << 20;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// From a place on that suits every item size.
Extent aligned(const Extent& used) { return {used.begin / item_alignment * item_alignment, used.end}; }

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

/// What makes tensors over one storage differ in the clone: they get a storage each.
struct Target {
  uint32_t part;
  at::Device device;
  at::ScalarType from, to;
  bool lazy;

  auto key() const { return std::tuple(part, device.type(), device.index(), from, to, lazy); }
};

Target target_of(const Plan& plan, const Tensor& tensor, const Decision& decision) {
  const c10::TensorImpl& impl = *tensor.value.unsafeGetTensorImpl();
  Target target{tensor.part, impl.device(), at::kByte, at::kByte, decision.mode == Mode::lazy};
  if (decision.moves) target.device = *plan.device;
  if (decision.mode == Mode::meta) target.device = at::kMeta;
  if (decision.dtype != at::ScalarType::Undefined) {
    target.from = c10::typeMetaToScalarType(impl.dtype());
    target.to = decision.dtype;
  }
  return target;
}

/// From a place in a block that has the source's items to that in one that has the target's.
int64_t scaled(int64_t bytes, const Block& block) {
  return bytes / static_cast<int64_t>(c10::elementSize(block.from)) * static_cast<int64_t>(c10::elementSize(block.to));
}

/// Adds a block for `storage`, of which `used` is in use: sorted, disjoint.
BlockId add_block(Plan& plan, c10::StorageImpl* storage, const Target& target, std::span<const Extent> used) {
  const auto nbytes = static_cast<int64_t>(storage->nbytes());
  Block block{storage, target.device, target.from, target.to, 0, static_cast<uint32_t>(plan.ranges.size()), 0, false};
  int64_t reached = 0;
  for (const Extent& extent : used) reached += extent.end - extent.begin;
  const bool outside = !used.empty() && used.back().end > nbytes;
  const bool whole = reached * 2 >= nbytes || outside;
  block.lazy = target.lazy && (whole || nbytes <= small_storage);
  if (whole || block.lazy) {
    plan.ranges.push_back({0, nbytes, 0});
    block.bytes = block.lazy ? 0 : scaled(nbytes, block);
  } else {
    for (const Extent& extent : used) {
      const int64_t at = round_up(block.bytes, range_alignment);
      plan.ranges.push_back({extent.begin, extent.end, at});
      block.bytes = at + scaled(extent.end - extent.begin, block);
    }
  }
  block.count = static_cast<uint32_t>(plan.ranges.size()) - block.first;
  plan.blocks.push_back(block);
  return static_cast<BlockId>(plan.blocks.size() - 1);
}

int64_t place(const Plan& plan, const Block& block, int64_t begin) {
  const auto first = plan.ranges.begin() + block.first, last = first + block.count;
  const auto it = std::upper_bound(first, last, begin, [](int64_t at, const Range& range) { return at < range.begin; });
  return it == first ? 0 : std::prev(it)->at + scaled(begin - std::prev(it)->begin, block);
}

/// `begin`: of the tensor's elements in the block's source.
void put(Plan& plan, Decision& decision, BlockId block, int64_t begin) {
  decision.block = block;
  decision.offset = place(plan, plan.blocks[block], begin);
  if (decision.mode != Mode::lazy || plan.blocks[block].lazy) return;
  decision.mode = Mode::copy;
  decision.copied = "less than half of its storage is in use";
}

/// Why a tensor cannot be lazy; null if nothing is in the way.
const char* why_not_lazy(const Tensor& tensor, const Decision& decision) {
  if (tensor.opaque || !has_bytes(tensor.value)) return "it is no plain view of memory";
  if (decision.moves || decision.dtype != at::ScalarType::Undefined) return "it changes device or dtype";
  c10::StorageImpl& storage = *tensor.value.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl();
  if (!storage.device().is_cpu()) return "it is not in the CPU's memory";
  if (storage.nbytes() == 0) return "it has no bytes";
  return can_be_lazy(storage) ? nullptr : "its memory is not ours to share";
}

}  // namespace

void lay_out(const Graph& graph, Plan& plan) {
  // Storages that several tensors hold, in walk order: no order of addresses shows.
  using Key = decltype(std::tuple_cat(std::tuple<const c10::StorageImpl*>(), std::declval<Target>().key()));
  std::map<Key, std::size_t> known;
  std::vector<std::vector<TensorId>> together;
  plan.blocks.reserve(graph.tensors.size());
  plan.ranges.reserve(graph.tensors.size());
  for (TensorId id = 0; id < graph.tensors.size(); ++id) {
    const Tensor& tensor = graph.tensors[id];
    Decision& decision = plan.tensors[id];
    if (id + 8 < graph.tensors.size()) fetch_storage(graph.tensors[id + 8].value);
    if (decision.mode == Mode::lazy) decision.copied = why_not_lazy(tensor, decision);
    if (decision.copied != nullptr) decision.mode = Mode::copy;
    const bool made = has_own_values(decision.mode) || decision.mode == Mode::meta;
    if (!made || tensor.opaque || !has_bytes(tensor.value)) continue;
    const c10::Storage& storage = tensor.value.unsafeGetTensorImpl()->unsafe_storage();
    const Target target = target_of(plan, tensor, decision);
    if (storage.use_count() > 1) {
      const Key key = std::tuple_cat(std::tuple<const c10::StorageImpl*>(storage.unsafeGetStorageImpl()), target.key());
      const auto [it, added] = known.try_emplace(key, together.size());
      if (added) together.emplace_back();
      together[it->second].push_back(id);
      continue;
    }
    const Extent exact = extent(tensor.value), used = aligned(exact);
    const std::span<const Extent> spans(&used, used.begin == used.end ? 0 : 1);
    put(plan, decision, add_block(plan, storage.unsafeGetStorageImpl(), target, spans), exact.begin);
  }
  for (const std::vector<TensorId>& ids : together) {
    std::vector<Extent> used;
    for (const TensorId id : ids) used.push_back(aligned(extent(graph.tensors[id].value)));
    merge(used);
    const Tensor& first = graph.tensors[ids[0]];
    const BlockId block = add_block(plan, first.value.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl(),
                                    target_of(plan, first, plan.tensors[ids[0]]), used);
    for (const TensorId id : ids) put(plan, plan.tensors[id], block, extent(graph.tensors[id].value).begin);
  }
}

}  // namespace ramet::core
