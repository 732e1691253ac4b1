/// Functions that an object has put into its own __dict__.
///
/// Elsewhere functions are one of their kind, and a clone has the same. But torch's schedulers wrap an optimizer's
/// `step` in a function that refers to that optimizer, and so do users: the clone's must refer to the clone.
#pragma once

#include <pybind11/pybind11.h>

namespace ramet::python {

namespace py = pybind11;

/// Makes anew those functions in `made`'s __dict__ that close over `source`, directly or by a weak reference, a bound
/// method or another function, to close over `made`. All others stay the same.
void rebind_functions(const py::object& source, const py::object& made);

}  // namespace ramet::python
