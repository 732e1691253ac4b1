/// The functions of ramet._C that look at two models.
#pragma once

#include <pybind11/pybind11.h>

namespace ramet::python {

/// Adds Relation, relation, in_common and named to the extension module.
void bind_relation(pybind11::module_& module);

}  // namespace ramet::python
