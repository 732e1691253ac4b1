/// Carries out a plan: the clones' tensors.
///
/// Input: a Graph and its Plan. Output: for each clone its tensors, by TensorId. Knows no slots: which slot gets which
/// tensor is the fronts' business (rebuild).
#pragma once

#include <ramet/plan.h>

namespace ramet::core {

/// Makes the tensors of `n` clones: result[i][t] stands for graph.tensors[t] in the i-th clone.
///
/// share and held: the source's own tensor. copy: a detached leaf with its own memory and the source's sizes, strides,
/// dtype, device, conj and neg bits and requires_grad, where the plan says nothing else of them; tensors over one
/// storage stay so. lazy: the same, except that a storage holds the source's memory until either is written. alias: a
/// leaf of its own, with a version counter of its own, over the source's storage. meta: as copy, on the meta device.
/// differentiable: as copy, but what stands for a tensor that requires grad is no leaf: autograd knows it, and all
/// others of its clone, as the result of one operation on the source's. Opaque tensors are left undefined unless
/// shared. The source is never changed. Needs no GIL, and may be called without it.
std::vector<std::vector<at::Tensor>> materialize(const Graph& graph, const Plan& plan, std::size_t n);

}  // namespace ramet::core
