/// tie, untie and assign, in place. The core decides which slots change; here they are set.
///
/// Slots are set in the dicts that hold them: no `__setattr__`, no registration hook and no property of the user's
/// runs. Throws PlanError before anything is changed.
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <vector>

namespace ramet::python {

namespace py = pybind11;

void tie(py::handle model, const std::vector<std::string>& paths);
void untie(py::handle model, const std::vector<std::string>& paths);
void untie_all(py::handle model);

/// Puts tensors into the slots that `paths` names; into those of all parameters, in order, if `paths` is None.
void assign(py::handle model, const py::object& paths, const py::list& tensors);

}  // namespace ramet::python
