/// Ties as Python objects.
#pragma once

#include <pybind11/pybind11.h>
#include <ramet/report.h>

namespace ramet::python {

/// A list of instances of `type`, a named tuple of kind, names and nbytes.
pybind11::list tuples_of(const Catalog& catalog, const pybind11::type& type);
pybind11::list tuples_of(const std::vector<Tie>& ties, const pybind11::type& type);

}  // namespace ramet::python
