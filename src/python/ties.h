/// Ties as Python objects.
#pragma once

#include <pybind11/pybind11.h>
#include <ramet/report.h>

#include <span>

namespace ramet::python {

/// A list of instances of `type`, a named tuple of kind, names and nbytes.
pybind11::list tuples_of(std::span<const Tie> ties, const pybind11::type& type);

}  // namespace ramet::python
