/// torch::optim optimizers in the walk and in rebuild. Private to the torch::nn front.
#pragma once

#include <ramet/clone.h>
#include <ramet/graph.h>

namespace ramet::nn {

/// What the walk sees of an optimizer: its parameters by group, and its state tensors by parameter.
struct OptimizerParts {
  std::vector<std::vector<at::Tensor>> groups;
  /// For each parameter that has state, by its place among all of them: the state's tensors by name, as one refers to
  /// them. Undefined ones are left out.
  std::vector<std::pair<std::size_t, std::vector<std::pair<std::string, at::Tensor>>>> state;
};

/// What is wrong if clone does not know an optimizer's dynamic type; empty if it does.
std::string why_unknown(const torch::optim::Optimizer& optimizer);

/// Takes a known optimizer apart.
OptimizerParts parts_of(const torch::optim::Optimizer& optimizer);

/// Makes an optimizer of the source's type, with its options and state, over other tensors: `tensors` stand for those
/// that `parts_of` gives, in the same order.
detail::OptimizerPtr make_optimizer(const torch::optim::Optimizer& source, const OptimizerParts& tensors);

}  // namespace ramet::nn
