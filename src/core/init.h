/// Which modules are initialised for a clone. Private to the core.
#pragma once

#include "core/claims.h"

namespace ramet::core {

/// Notes in `plan` the modules that initialise what it has as init: those that own one of these tensors, and those that
/// own none at all, have an initialiser, and have nothing beneath them that is not init. `claims` is null if the rules
/// name no tensors. Throws PlanError if a tied tensor is named by some of its names only, where nobody can initialise
/// one, where there would be no values, and for an initializer without init.
void plan_init(const Graph& graph, const Catalog& catalog, const Claims* claims, const Rules& rules, Plan& plan);

}  // namespace ramet::core
