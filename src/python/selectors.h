/// Python selectors into the core's rules, and keep into the walk's boundary.
#pragma once

#include <ramet/rules.h>

#include "python/walk.h"

namespace ramet::python {

/// What the user asked for, as given: one entry a mode, and the other rules. None where not given.
struct Requests {
  std::vector<std::pair<core::Mode, py::object>> modes;
  py::object keep = py::none(), freeze = py::none(), untie = py::none(), grads = py::none(), device = py::none(),
             dtype = py::none(), within = py::none(), memo = py::none(), initializer = py::none();
};

/// Unties what `untie` names: nodes are added to the walk.
void add_twins(Walk& walk, const py::object& untie);

/// The rules for one walk. Throws PlanError for selectors that match nothing or are of no use.
core::Rules rules_of(Walk& walk, const Requests& requests);

}  // namespace ramet::python
