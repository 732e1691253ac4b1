/// Runs initialisers for the mode init.
#pragma once

#include <ramet/plan.h>

#include "python/walk.h"

namespace ramet::python {

/// A module's bound reset_parameters, else its _reset_parameters; None if it has neither.
py::object initialiser_of(const py::object& module);

/// Gives fresh values to the tensors of `clone` (by TensorId) that are init: makes a scratch clone, calls `initializer`
/// with each of the plan's modules in it, or the module's own where that is None, and copies what has become of the
/// tensors. No module or tensor of the source is written, whatever an initialiser does; kept plain objects are the
/// source's in the scratch clone too. Raises what an initialiser raises, and
/// PlanError if one has changed a shape.
void initialise(const Walk& walk, const core::Plan& plan, const py::object& initializer,
                const std::vector<at::Tensor>& clone);

}  // namespace ramet::python
