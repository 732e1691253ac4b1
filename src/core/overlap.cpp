/// Which tensors have bytes in common: extents, exact overlap of strided views, groups.
#include <ramet/catalog.h>

#include <algorithm>
#include <numeric>
#include <tuple>
#include <typeinfo>

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

bool common_bytes(const Runs& a, const Runs& b) {
  int64_t step = 0;
  for (const Runs* runs : {&a, &b}) {
    for (const auto& [stride, size] : runs->outer) step = std::gcd(step, stride);
  }
  // Every run starts at the same residue: disjoint residues (even and odd columns) never meet.
  if (step > 0) {
    const int64_t distance = ((b.begin - a.begin) % step + step) % step;
    if (distance >= a.length && distance + b.length <= step) return false;
  }
  const std::vector<int64_t> starts_a = a.starts(b.begin - a.length + 1, b.end()),
                             starts_b = b.starts(a.begin - b.length + 1, a.end());
  auto i = starts_a.begin(), j = starts_b.begin();
  while (i != starts_a.end() && j != starts_b.end()) {
    if (*i + a.length <= *j) {
      ++i;
    } else if (*j + b.length <= *i) {
      ++j;
    } else {
      return true;
    }
  }
  return false;
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

int64_t Runs::end() const {
  int64_t last = begin;
  for (const auto& [stride, size] : outer) last += stride * (size - 1);
  return last + length;
}

std::vector<int64_t> Runs::starts(int64_t from, int64_t to) const {
  std::vector<int64_t> result{begin};
  for (const auto& [stride, size] : outer) {
    const std::size_t count = result.size();
    result.reserve(count * size);
    for (int64_t k = 1; k < size; ++k) {
      for (std::size_t i = 0; i < count; ++i) result.push_back(result[i] + k * stride);
    }
  }
  std::erase_if(result, [&](int64_t start) { return start < from || start >= to; });
  std::sort(result.begin(), result.end());
  return result;
}

Extent extent(const at::Tensor& tensor) {
  if (tensor.numel() == 0) return {};
  const auto item = static_cast<int64_t>(tensor.element_size());
  const int64_t begin = tensor.storage_offset() * item;
  int64_t last = begin;
  for (int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d) * item;
  return {begin, last + item};
}

bool has_bytes(const at::Tensor& tensor) {
  const c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
  // Sparse, quantized, nested, opaque and wrapped tensors are classes of their own; a Python subclass that wraps
  // another tensor has the Python key.
  return typeid(impl) == typeid(c10::TensorImpl) && impl.has_storage() &&
         !impl.key_set().has(c10::DispatchKey::Python) && tensor.device().type() != c10::DeviceType::Meta;
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
    // One that ends no later than an open one of its group, both dense, can tie nothing that the other would not.
    const auto covered = [&](const Candidate* it) {
      return it->extent.end >= next.extent.end && find(parent, it->tensor) == find(parent, next.tensor) &&
             graph.tensors[it->tensor].value.is_non_overlapping_and_dense();
    };
    if (std::none_of(open.begin(), open.end(), covered)) open.push_back(&next);
  }
  for (uint32_t id = 0; id < parent.size(); ++id) parent[id] = find(parent, id);
  return parent;
}

}  // namespace ramet::core
