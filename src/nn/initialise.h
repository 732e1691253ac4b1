/// Runs initialisers for the mode init.
#pragma once

#include <ramet/plan.h>

#include "nn/walk.h"

namespace ramet::nn {

/// Gives fresh values to the tensors of `clone` (by TensorId) that are init: makes a scratch clone, runs `initializer`
/// on each of the plan's modules in it, or the module's own where that is null, and copies what has become of the
/// tensors. Nothing of the source is written, whatever an initialiser does. Throws what an initialiser throws, and
/// PlanError if one has changed a shape.
void initialise(const Walk& walk, const core::Plan& plan, const std::function<void(torch::nn::Module&)>& initializer,
                const std::vector<at::Tensor>& clone);

}  // namespace ramet::nn
