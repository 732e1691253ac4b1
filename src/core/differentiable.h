/// What the mode differentiable cannot do. Private to the core.
#pragma once

#include <ramet/plan.h>

namespace ramet::core {

/// Throws PlanError, with the paths, where `plan` has differentiable tensors that cannot be: in a thread in which
/// gradients are disabled; without values to compute with; two over common bytes; frozen; to be trained by an optimizer
/// of the session.
void check_differentiable(const Graph& graph, const Rules& rules, const Plan& plan);

}  // namespace ramet::core
