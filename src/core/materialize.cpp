/// The clones' tensors: the source's own, or new ones made by hand over the arena's storages.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_empty_per_channel_affine_quantized.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/zero.h>
#include <ramet/arena.h>
#include <ramet/catalog.h>
#include <ramet/materialize.h>

#include <cstring>

#include "core/autograd.h"
#include "core/fetch.h"

namespace ramet::core {
namespace {

/// The dispatch keys of a tensor that differs from `source` in device or dtype only.
c10::DispatchKeySet keys(const at::Tensor& source, const c10::Storage& storage, at::ScalarType dtype) {
  const c10::TensorImpl& impl = *source.unsafeGetTensorImpl();
  if (storage.device().type() == impl.device().type()) return impl.key_set();
  c10::DispatchKeySet result = at::empty({0}, at::TensorOptions().dtype(dtype).device(storage.device())).key_set();
  if (source.is_conj()) result = result.add(c10::DispatchKey::Conjugate);
  if (source.is_neg()) result = result.add(c10::DispatchKey::Negative);
  return result;
}

// TensorImpl and storage by hand: `clone()` dispatches, which takes three times as long on a small tensor. The
// constructor adds the autograd keys that an inference tensor's key set lacks.
at::Tensor over(c10::Storage storage, const Decision& decision, const at::Tensor& source) {
  const c10::TensorImpl& impl = *source.unsafeGetTensorImpl();
  const bool same = decision.dtype == at::ScalarType::Undefined;
  const caffe2::TypeMeta dtype = same ? impl.dtype() : c10::scalarTypeToTypeMeta(decision.dtype);
  const c10::DispatchKeySet key_set = keys(source, storage, dtype.toScalarType());
  at::Tensor result = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), key_set, dtype);
  result.unsafeGetTensorImpl()->set_sizes_and_strides(impl.sizes(), impl.strides(),
                                                      decision.offset / static_cast<int64_t>(dtype.itemsize()));
  return result;
}

// torch's own clone refuses zero points that are floating.
at::Tensor cloned_by_channel(const at::Tensor& source) {
  const at::Tensor result = at::_empty_per_channel_affine_quantized(
      source.sizes(), source.q_per_channel_scales().clone(), source.q_per_channel_zero_points().clone(),
      source.q_per_channel_axis(), source.options());
  const at::Tensor bytes = source.contiguous();
  std::memcpy(result.data_ptr(), bytes.const_data_ptr(), bytes.nbytes());
  return result;
}

// Sparse, quantized and other tensors that have more to them than bytes, and meta tensors, which have none.
at::Tensor cloned(const at::Tensor& source, const Plan& plan, const Decision& decision) {
  const at::ScalarType dtype = decision.dtype == at::ScalarType::Undefined ? source.scalar_type() : decision.dtype;
  if (source.is_meta() && source.layout() == at::kStrided) {
    const at::TensorOptions options = source.options().requires_grad(false).dtype(dtype);
    if (!decision.moves) return at::empty_strided(source.sizes(), source.strides(), options);
    return at::empty_strided(source.sizes(), source.strides(), options.device(*plan.device))
        .zero_();  // see plan_scratch
  }
  if (source.is_quantized() && source.qscheme() == at::kPerChannelAffineFloatQParams) return cloned_by_channel(source);
  if (!decision.moves && dtype == source.scalar_type()) return source.detach().clone();
  return source.detach().to(decision.moves ? *plan.device : source.device(), dtype, /*non_blocking=*/false,
                            /*copy=*/true);
}

// A version counter of its own, as with `.data`.
at::Tensor aliased(const at::Tensor& source) {
  if (has_bytes(source)) {
    Decision in_place;
    in_place.offset = source.storage_offset() * static_cast<int64_t>(source.element_size());
    return over(source.storage(), in_place, source);
  }
  at::Tensor result = source.variable_data();
  result.unsafeGetTensorImpl()->set_allow_tensor_metadata_change(true);
  return result;
}

/// By BlockId: how many tensors lie in it.
std::vector<uint32_t> tensors_in_blocks(const Plan& plan) {
  std::vector<uint32_t> result(plan.blocks.size());
  for (const Decision& decision : plan.tensors) {
    if (decision.block != none) ++result[decision.block];
  }
  return result;
}

at::Tensor make(const Tensor& tensor, const Plan& plan, const Decision& decision, c10::Storage storage) {
  if (decision.mode == Mode::share) return tensor.value;
  if (tensor.opaque) return {};
  at::Tensor result = decision.mode == Mode::alias ? aliased(tensor.value)
                      : decision.block == none     ? cloned(tensor.value, plan, decision)
                                                   : over(std::move(storage), decision, tensor.value);
  const bool leaf = tensor.value.is_leaf();
  const bool trains = decision.trains || (leaf && tensor.value.requires_grad());
  if (trains && decision.freeze == none && decision.mode != Mode::differentiable) result.set_requires_grad(true);
  const bool own_values = decision.mode == Mode::copy || decision.mode == Mode::lazy;
  if (plan.grads && own_values && leaf && tensor.value.grad().defined()) {
    result.mutable_grad() =
        tensor.value.grad().detach().to(result.device(), result.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  }
  return result;
}

}  // namespace

std::vector<std::vector<at::Tensor>> materialize(const Graph& graph, const Plan& plan, std::size_t n) {
  const at::NoGradGuard no_grad;
  std::vector<c10::Storage> blocks = fill(plan, n);
  const std::vector<uint32_t> users = tensors_in_blocks(plan);
  std::vector<std::vector<at::Tensor>> result(n);
  for (std::size_t i = 0; i < n; ++i) {
    result[i].reserve(graph.tensors.size());
    c10::Storage* const own = blocks.data() + i * plan.blocks.size();
    // A count of references is slow to change: a storage goes to its only tensor.
    const auto storage_of = [&](BlockId block) {
      if (block == none) return c10::Storage();
      return users[block] == 1 ? std::move(own[block]) : own[block];
    };
    for (TensorId id = 0; id < graph.tensors.size(); ++id) {
      if (id + 6 < graph.tensors.size()) fetch(graph.tensors[id + 6].value);
      if (id + 3 < graph.tensors.size()) fetch_autograd(graph.tensors[id + 3].value);
      const Decision& decision = plan.tensors[id];
      result[i].push_back(make(graph.tensors[id], plan, decision, storage_of(decision.block)));
    }
    connect(graph, plan, result[i]);
  }
  return result;
}

}  // namespace ramet::core
