/// Which tensors have bytes in common: extents, exact overlap of strided views, groups.
#include <ramet/catalog.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <typeinfo>

#include "core/fetch.h"
#include "core/runs.h"

namespace ramet::core {
namespace {

struct Candidate {
  const c10::StorageImpl* storage;
  uint32_t part;
  Extent extent;
  TensorId tensor;
};

/// The tensors that may share bytes: those whose storage some other tensor holds too.
std::vector<Candidate> candidates(const Graph& graph) {
  std::vector<Candidate> result;
  for (TensorId id = 0; id < graph.tensors.size(); ++id) {
    const at::Tensor& value = graph.tensors[id].value;
    if (id + 16 < graph.tensors.size()) fetch(graph.tensors[id + 16].value);
    if (id + 8 < graph.tensors.size()) fetch_storage(graph.tensors[id + 8].value);
    if (!has_bytes(value) || value.numel() == 0) continue;
    const c10::Storage& storage = value.unsafeGetTensorImpl()->unsafe_storage();
    if (storage.use_count() == 1) continue;
    result.push_back({storage.unsafeGetStorageImpl(), graph.tensors[id].part, extent(value), id});
  }
  const auto key = [](const Candidate& it) {
    return std::tuple(reinterpret_cast<uintptr_t>(it.storage), it.part, it.extent.begin, it.tensor);
  };
  std::sort(result.begin(), result.end(), [&](const Candidate& a, const Candidate& b) { return key(a) < key(b); });
  return result;
}

uint32_t find(std::vector<uint32_t>& parent, uint32_t id) {
  while (parent[id] != id) id = parent[id] = parent[parent[id]];
  return id;
}

/// How often a stride may be added: 0 to `most` times.
struct Step {
  int64_t stride, most;
  int64_t reach = 0;  // what this step and the smaller ones add up to at most
  int64_t unit = 0;   // and what divides all that they add
};

/// Whether some choice of counts makes steps[0..count) add up to a number in [low, high].
bool can_reach(const std::vector<Step>& steps, std::size_t count, int64_t low, int64_t high) {
  if (high < 0) return false;
  if (low <= 0) return true;
  if (count == 0) return false;
  const auto& [stride, most, reach, unit] = steps[count - 1];
  if (low > reach || high / unit * unit < low) return false;
  const int64_t rest = count == 1 ? 0 : steps[count - 2].reach;
  const int64_t last = std::min(most, high / stride);
  for (int64_t n = std::max<int64_t>(0, (low - rest + stride - 1) / stride); n <= last; ++n) {
    if (can_reach(steps, count - 1, low - n * stride, high - n * stride)) return true;
  }
  return false;
}

/// Whether a run of `a` meets one of `b`: whether (a's start) - (b's start) can lie in (-a.length, b.length).
///
/// A bounded equation over the strides of both. Steps of `b` count backwards; steps of one stride are one; the largest
/// is tried first, so that what remains is either out of reach, or met at once, or a few cases.
bool common_bytes(const Runs& a, const Runs& b) {
  std::map<int64_t, int64_t> most;  // by stride
  int64_t low = b.begin - a.begin - a.length + 1, high = b.begin - a.begin + b.length - 1;
  for (const auto& [stride, size] : a.outer) most[stride] += size - 1;
  for (const auto& [stride, size] : b.outer) {
    most[stride] += size - 1;
    low += stride * (size - 1);
    high += stride * (size - 1);
  }
  std::vector<Step> steps;
  int64_t reach = 0, unit = 0;
  for (const auto& [stride, count] : most) {
    reach += stride * count;
    unit = std::gcd(unit, stride);
    steps.push_back({stride, count, reach, unit});
  }
  return can_reach(steps, steps.size(), low, high);
}

}  // namespace

Runs::Runs(const at::Tensor& tensor) : begin(extent(tensor).begin), length(tensor.element_size()) {
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    if (tensor.size(d) > 1 && tensor.stride(d) > 0) outer.emplace_back(tensor.stride(d) * length, tensor.size(d));
  }
  std::sort(outer.begin(), outer.end());
  auto left = outer.begin();
  for (const auto& [stride, size] : outer) {
    if (left == outer.begin() && stride <= length) {
      length += stride * (size - 1);
    } else {
      *left++ = {stride, size};
    }
  }
  outer.erase(left, outer.end());
}

std::vector<int64_t> Runs::starts() const {
  std::vector<int64_t> result{begin};
  for (const auto& [stride, size] : outer) {
    const std::size_t count = result.size();
    result.reserve(count * size);
    for (int64_t k = 1; k < size; ++k) {
      for (std::size_t i = 0; i < count; ++i) result.push_back(result[i] + k * stride);
    }
  }
  return result;
}

Extent extent(const at::Tensor& tensor) {
  const c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
  const auto item = static_cast<int64_t>(impl.itemsize());
  const int64_t begin = impl.storage_offset() * item;
  if (impl.is_contiguous()) return impl.numel() == 0 ? Extent{} : Extent{begin, begin + impl.numel() * item};
  const at::IntArrayRef sizes = impl.sizes(), strides = impl.strides();
  int64_t last = begin;
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    if (sizes[d] == 0) return {};
    last += (sizes[d] - 1) * strides[d] * item;
  }
  return {begin, last + item};
}

bool has_bytes(const at::Tensor& tensor) {
  const c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
  // Sparse, quantized, nested, opaque and wrapped tensors are classes of their own; a Python subclass that wraps
  // another tensor has the Python key.
  if (typeid(impl) != typeid(c10::TensorImpl) || impl.key_set().has(c10::DispatchKey::Python)) return false;
  return impl.has_storage() && impl.device_type() != c10::DeviceType::Meta && !impl._is_zerotensor();
}

bool overlap(const at::Tensor& a, const at::Tensor& b) {
  if (!has_bytes(a) || !has_bytes(b) || a.numel() == 0 || b.numel() == 0) return false;
  if (!a.unsafeGetTensorImpl()->unsafe_storage().is_alias_of(b.unsafeGetTensorImpl()->unsafe_storage())) return false;
  const Extent x = extent(a), y = extent(b);
  if (x.end <= y.begin || y.end <= x.begin) return false;
  if (a.is_non_overlapping_and_dense() && b.is_non_overlapping_and_dense()) return true;
  return common_bytes(Runs(a), Runs(b));
}

std::vector<uint32_t> groups(const Graph& graph) {
  std::vector<uint32_t> parent(graph.tensors.size());
  std::iota(parent.begin(), parent.end(), 0);
  const std::vector<Candidate> sorted = candidates(graph);
  std::vector<const Candidate*> open;  // of the present storage: what may still reach what follows
  for (const Candidate& next : sorted) {
    std::erase_if(open, [&](const Candidate* it) {
      return it->storage != next.storage || it->part != next.part || it->extent.end <= next.extent.begin;
    });
    for (const Candidate* it : open) {
      const uint32_t a = find(parent, it->tensor), b = find(parent, next.tensor);
      if (a != b && overlap(graph.tensors[it->tensor].value, graph.tensors[next.tensor].value)) {
        parent[std::max(a, b)] = std::min(a, b);
      }
    }
    // Of a group, a dense tensor stands for all that end no later: whatever meets those from here on meets it too.
    const auto stands_for = [&](const Candidate& a, const Candidate& b) {
      return a.extent.end >= b.extent.end && graph.tensors[a.tensor].value.is_non_overlapping_and_dense() &&
             find(parent, a.tensor) == find(parent, b.tensor);
    };
    if (std::any_of(open.begin(), open.end(), [&](const Candidate* it) { return stands_for(*it, next); })) continue;
    std::erase_if(open, [&](const Candidate* it) { return stands_for(next, *it); });
    open.push_back(&next);
  }
  for (uint32_t id = 0; id < parent.size(); ++id) parent[id] = find(parent, id);
  return parent;
}

}  // namespace ramet::core
