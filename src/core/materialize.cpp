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

/// Asks the processor for what `make` reads, ahead of its use: waiting for memory is most of the time of many small
/// tensors.
void fetch(const at::Tensor& tensor) {
  constexpr std::size_t line = 64;
  const auto* impl = reinterpret_cast<const char*>(tensor.unsafeGetTensorImpl());
  for (std::size_t at = 0; at < sizeof(c10::TensorImpl); at += line) __builtin_prefetch(impl + at);
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
    const c10::Storage* own = blocks.data() + i * plan.blocks.size();
    for (TensorId id = 0; id < graph.tensors.size(); ++id) {
      if (id + 4 < graph.tensors.size()) fetch(graph.tensors[id + 4].value);
      result[i].push_back(make(graph.tensors[id], plan.tensors[id], own));
    }
  }
  return result;
}

}  // namespace ramet::core
