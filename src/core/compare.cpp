/// What two tensors, and two graphs, have in common: identity first, then bytes, then values.
#include "core/compare.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/view_as_real.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/flat_hash_map.h>
#include <ramet/relation.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "core/lazy.h"

namespace ramet::core {
namespace {

bool is_wrapper(const at::Tensor& tensor) {
  return tensor.unsafeGetTensorImpl()->key_set().has(c10::DispatchKey::Python);
}

bool any_overlap(const at::Tensor& a, const at::Tensor& b) {
  if (has_bytes(a) && has_bytes(b)) return overlap(a, b);
  const std::vector<at::Tensor> parts = plain_parts(b);
  for (const at::Tensor& part : plain_parts(a)) {
    if (std::any_of(parts.begin(), parts.end(), [&](const at::Tensor& it) { return overlap(part, it); })) return true;
  }
  return false;
}

/// Whether both are one view of one memory that their storages hold until either is written.
bool same_bytes_lazily(const at::Tensor& a, const at::Tensor& b) {
  if (!has_bytes(a) || !has_bytes(b) || a.numel() == 0) return false;
  const auto as_seen = [](const at::Tensor& it) {
    return std::tuple(it.scalar_type(), it.sizes(), it.strides(), it.storage_offset(), it.is_conj(), it.is_neg());
  };
  return as_seen(a) == as_seen(b) && are_lazy(*a.storage().unsafeGetStorageImpl(), *b.storage().unsafeGetStorageImpl());
}

/// The same bytes as integers, which have neither NaN nor two zeros.
at::Tensor bits(const at::Tensor& tensor) {
  switch (tensor.element_size()) {
    case 1:
      return tensor.view(at::kByte);
    case 2:
      return tensor.view(at::kShort);
    case 4:
      return tensor.view(at::kInt);
    default:
      return tensor.view(at::kLong);
  }
}

/// Whether every element of `a` equals that of `b` by value or by its bits. Allocates next to nothing.
bool same_values(const at::Tensor& a, const at::Tensor& b) {
  constexpr int64_t few = 1 << 14;
  if (a.is_complex()) return same_values(at::view_as_real(a), at::view_as_real(b));
  if (at::equal(bits(a), bits(b))) return true;
  if (!a.is_floating_point()) return false;
  if (at::equal(a, b)) return true;
  // What is left is a difference, or NaNs in some places and zeros of two signs in others.
  if (a.numel() <= few) return a.eq(b).logical_or_(bits(a).eq(bits(b))).all().item<bool>();
  const auto longest = std::max_element(a.sizes().begin(), a.sizes().end());
  const int64_t dim = longest - a.sizes().begin(), half = *longest / 2;
  return same_values(a.narrow(dim, 0, half), b.narrow(dim, 0, half)) &&
         same_values(a.narrow(dim, half, *longest - half), b.narrow(dim, half, *longest - half));
}

/// Whether a tensor's storage has all the bytes that it stands for: of one that was resized to nothing, as sharded
/// training does with what is elsewhere, none may be read.
bool is_backed(const at::Tensor& tensor) {
  if (!has_bytes(tensor)) return true;
  const std::size_t end = at::detail::computeStorageNbytes(tensor.sizes(), tensor.strides(), tensor.element_size(),
                                                           static_cast<std::size_t>(tensor.storage_offset()));
  return tensor.storage().nbytes() >= end;
}

bool equal_tensors(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.layout() != b.layout() || a.sizes() != b.sizes()) return false;
  if (a.is_meta() || b.is_meta()) return a.is_meta() && b.is_meta();
  if (a.numel() == 0) return true;
  if (!is_backed(a) || !is_backed(b)) return !is_backed(a) && !is_backed(b);
  if (a.device() != b.device()) return equal_tensors(a.cpu(), b.cpu());
  if (has_bytes(a) && has_bytes(b)) return same_values(a.resolve_conj().resolve_neg(), b.resolve_conj().resolve_neg());
  if (a.layout() == at::kStrided) return at::equal(a, b);
  const std::vector<at::Tensor> parts = plain_parts(a), others = plain_parts(b);
  return !parts.empty() && std::equal(parts.begin(), parts.end(), others.begin(), others.end(), &equal_tensors);
}

/// The same for tensors behind which no user code stands; the modes that watch torch's operators are left out.
bool equal_or_not_comparable(const at::Tensor& a, const at::Tensor& b) {
  const at::NoGradGuard no_grad;
  const c10::impl::ExcludeDispatchKeyGuard no_python(c10::python_ks);
  try {
    return equal_tensors(a, b);
  } catch (const c10::NotImplementedError&) {
    return false;
  } catch (const std::exception&) {
    if (has_bytes(a) && has_bytes(b)) throw;  // out of memory
    return false;
  }
}

/// Tensors with bytes in common that are not one tensor.
std::set<std::pair<NodeId, NodeId>> aliased(const Graph& a, const Graph& b) {
  Graph parts;
  std::vector<NodeId> owners;  // by TensorId of parts
  const auto add = [&](const Graph& graph) {
    for (const Tensor& tensor : graph.tensors) {
      for (at::Tensor& part : plain_parts(tensor.value)) {
        parts.add_tensor(std::move(part));
        owners.push_back(tensor.node);
      }
    }
    return owners.size();
  };
  const std::size_t end_of_a = add(a);
  add(b);
  const std::vector<uint32_t> group_of = groups(parts);
  std::map<uint32_t, std::pair<std::vector<TensorId>, std::vector<TensorId>>> sides;
  for (TensorId part = 0; part < owners.size(); ++part) {
    auto& [of_a, of_b] = sides[group_of[part]];
    (part < end_of_a ? of_a : of_b).push_back(part);
  }
  std::set<std::pair<NodeId, NodeId>> result;
  for (const auto& [group, side] : sides) {
    for (const TensorId x : side.first) {
      for (const TensorId y : side.second) {
        const bool one = a.nodes[owners[x]].object == b.nodes[owners[y]].object;
        if (!one && overlap(parts.tensors[x].value, parts.tensors[y].value)) result.emplace(owners[x], owners[y]);
      }
    }
  }
  return result;
}

}  // namespace

std::vector<at::Tensor> plain_parts(const at::Tensor& tensor) {
  const c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
  if (has_bytes(tensor)) return {tensor};
  if (!is_wrapper(tensor) && !impl.has_storage() && !impl.device().is_meta()) {
    const at::NoGradGuard no_grad;
    switch (impl.layout()) {
      case at::kSparse:
        return {tensor._indices(), tensor._values()};
      case at::kSparseCsr:
      case at::kSparseBsr:
        return {tensor.crow_indices(), tensor.col_indices(), tensor.values()};
      case at::kSparseCsc:
      case at::kSparseBsc:
        return {tensor.ccol_indices(), tensor.row_indices(), tensor.values()};
      default:
        return {};
    }
  }
  if (!impl.has_storage()) return {};
  // A quantized tensor, or a subclass over bytes of its own: what it uses of them is not asked.
  const c10::Storage& storage = impl.unsafe_storage();
  const int64_t bytes = storage.sym_nbytes().maybe_as_int().value_or(0);
  if (storage.device().is_meta() || bytes == 0) return {};
  at::Tensor whole = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), caffe2::TypeMeta::Make<uint8_t>());
  whole.unsafeGetTensorImpl()->set_sizes_contiguous({bytes});
  return {whole};
}

std::string_view compare(const at::Tensor& a, const at::Tensor& b, const Equal& equal_wrappers) {
  if (a.is_same(b)) return "shared";
  if (any_overlap(a, b)) return "aliased";
  if (same_bytes_lazily(a, b)) return "lazy";
  if (!is_wrapper(a) && !is_wrapper(b)) return equal_or_not_comparable(a, b) ? "equal" : "different";
  return equal_wrappers && equal_wrappers(a, b) ? "equal" : "different";
}

std::vector<Common> in_common(const Graph& a, const Graph& b) {
  ska::flat_hash_map<const void*, NodeId> held_by_a;
  for (NodeId node = 0; node < a.nodes.size(); ++node) {
    if (a.nodes[node].kind != NodeKind::object) held_by_a.emplace(a.nodes[node].object, node);
  }
  std::vector<Common> result;
  for (const NodeKind kind : {NodeKind::module, NodeKind::tensor}) {
    for (NodeId node = 0; node < b.nodes.size(); ++node) {
      const void* object = b.nodes[node].object;
      if (b.nodes[node].kind != kind || object == nullptr) continue;
      const auto it = held_by_a.find(object);
      if (it == held_by_a.end()) continue;
      result.push_back({kind == NodeKind::module ? TieKind::module : TieKind::tensor, it->second, node});
    }
  }
  for (const auto& [x, y] : aliased(a, b)) result.push_back({TieKind::storage, x, y});
  return result;
}

}  // namespace ramet::core
