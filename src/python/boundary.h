/// Where the walk stops: what `keep` names, what lies outside of the source within a root, and what a memo knows.
///
/// Resolved on the live objects, before the walk.
#pragma once

#include "python/walk.h"

namespace ramet::python {

/// One selector, or a list of them, as given; None and False ask for nothing.
std::vector<py::object> listed(const py::object& given);

/// A selector as errors show it.
std::string text_of(py::handle selector);

/// Whether a path leads to anything, be it a value without a node of its own.
bool leads_somewhere(py::handle source, const std::string& path);

/// Adds the objects that `keep` names in `source`. Throws PlanError for what keep cannot do.
void add_kept(py::handle source, const py::object& keep, Boundary& boundary);

/// Adds the modules and tensors registered in `root` by a path that does not pass through `source`: the clone goes on
/// referring to them. Throws PlanError if a module of `source` is not registered in `root`.
void add_outside(py::handle source, py::handle root, Boundary& boundary);

/// Adds what a memo, as copy.deepcopy keeps it, has for objects: the clone holds that in their place.
void add_memo(const py::dict& memo, Boundary& boundary);

}  // namespace ramet::python
