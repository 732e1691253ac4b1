/// Joins a clone to its source in autograd's graph. Private to the core.
#pragma once

#include <ramet/plan.h>

namespace ramet::core {

/// Makes every differentiable tensor of `clone` that stands for one which requires grad the result of one operation on
/// the source's: a single node, whatever their number. Such a tensor is no leaf; what flows back to it goes on to the
/// source's tensor, in the dtype and on the device of that one. The node saves nothing: it keeps no values alive, and
/// passes gradients that have a graph themselves.
void connect(const Graph& graph, const Plan& plan, const std::vector<at::Tensor>& clone);

}  // namespace ramet::core
