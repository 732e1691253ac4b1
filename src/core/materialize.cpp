/// The clones' tensors: the source's own, or new ones made by hand over the arena's storages.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_strided.h>
#include <ramet/arena.h>
#include <ramet/materialize.h>

namespace ramet::core {
namespace {

// TensorImpl and storage by hand: `clone()` dispatches, which takes three times as long on a small tensor. The
// constructor adds the autograd keys that an inference tensor's key set lacks.
at::Tensor over(const c10::Storage& storage, int64_t offset, const at::Tensor& source) {
  const c10::TensorImpl& impl = *source.unsafeGetTensorImpl();
  at::Tensor result = at::detail::make_tensor<c10::TensorImpl>(c10::Storage(storage), impl.key_set(), impl.dtype());
  const auto item = static_cast<int64_t>(impl.itemsize());
  result.unsafeGetTensorImpl()->set_sizes_and_strides(impl.sizes(), impl.strides(), offset / item);
  return result;
}

// Sparse, quantized and other tensors that have more to them than bytes, and meta tensors, which have none.
at::Tensor cloned(const at::Tensor& source) {
  if (source.is_meta() && source.layout() == at::kStrided) {
    return at::empty_strided(source.sizes(), source.strides(), source.options().requires_grad(false));
  }
  return source.detach().clone();
}

at::Tensor make(const Tensor& tensor, const Decision& decision, const c10::Storage* blocks) {
  if (decision.mode == Mode::share) return tensor.value;
  if (tensor.opaque) return {};
  at::Tensor result =
      decision.block == none ? cloned(tensor.value) : over(blocks[decision.block], decision.offset, tensor.value);
  if (tensor.value.requires_grad() && tensor.value.is_leaf()) result.set_requires_grad(true);
  return result;
}

}  // namespace

std::vector<std::vector<at::Tensor>> materialize(const Graph& graph, const Plan& plan, std::size_t n) {
  const at::NoGradGuard no_grad;
  const std::vector<c10::Storage> blocks = fill(plan, n);
  std::vector<std::vector<at::Tensor>> result(n);
  for (std::size_t i = 0; i < n; ++i) {
    result[i].reserve(graph.tensors.size());
    for (TensorId id = 0; id < graph.tensors.size(); ++id) {
      result[i].push_back(make(graph.tensors[id], plan.tensors[id], blocks.data() + i * plan.blocks.size()));
    }
  }
  return result;
}

}  // namespace ramet::core
