/// The one place that knows autograd's graph. An input of the node, a tensor of the source, and an output, the clone's,
/// have the same number.
#include "core/autograd.h"

#include <ATen/ops/real.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/variable.h>

namespace ramet::core {
namespace {

using torch::autograd::Edge;
using torch::autograd::variable_list;

/// Differentiable itself, and the same tensor where nothing was converted.
at::Tensor brought_back(const at::Tensor& gradient, const Edge& edge) {
  const torch::autograd::InputMetadata& source = edge.function->input_metadata(edge.input_nr);
  const at::ScalarType dtype = c10::typeMetaToScalarType(source.dtype());
  const bool was_real = gradient.is_complex() && !at::isComplexType(dtype);
  return (was_real ? at::real(gradient) : gradient).to(source.device(), dtype);
}

class CloneBackward final : public torch::autograd::Node {
 public:
  using Node::Node;

  std::string name() const override { return "RametCloneBackward"; }

 private:
  variable_list apply(variable_list&& gradients) override {
    variable_list result(gradients.size());
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (gradients[i].defined() && task_should_compute_output(i)) result[i] = brought_back(gradients[i], next_edge(i));
    }
    return result;
  }
};

/// Owned as autograd owns its nodes: since PyTorch 2.13 by an intrusive_ptr, before that by a shared_ptr.
template <class Pointer>
Pointer make_node(torch::autograd::edge_list&& sources) {
  if constexpr (std::is_same_v<Pointer, std::shared_ptr<typename Pointer::element_type>>) {
    using Node = typename Pointer::element_type;
    return Pointer(new CloneBackward(std::move(sources)), [](Node* last) { deleteNode(last); });  // without recursion
  } else {
    return c10::make_intrusive<CloneBackward>(std::move(sources));
  }
}

}  // namespace

void connect(const Graph& graph, const Plan& plan, const std::vector<at::Tensor>& clone) {
  torch::autograd::edge_list sources;
  std::vector<TensorId> connected;
  for (TensorId id = 0; id < graph.tensors.size(); ++id) {
    const at::Tensor& source = graph.tensors[id].value;
    if (plan.tensors[id].mode != Mode::differentiable || !source.requires_grad()) continue;
    connected.push_back(id);
    sources.push_back(torch::autograd::impl::gradient_edge(source));
  }
  if (connected.empty()) return;
  const auto node = make_node<decltype(Edge::function)>(std::move(sources));
  for (const TensorId id : connected) torch::autograd::set_history(clone[id], node);
}

}  // namespace ramet::core
