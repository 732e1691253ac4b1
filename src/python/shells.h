/// Empty objects for a clone: of the source's class, made by no constructor, with no contents yet.
///
/// Also what torch does to particular kinds of module that is not in their __dict__: the class of its own that a
/// parametrized module has, and the tensors that a ScriptModule holds in C++.
#pragma once

#include "python/walk.h"

namespace ramet::python {

/// An instance of the source's class without a constructor run.
py::object blank(const py::object& source);

/// The same for a parametrized module, whose class torch made for it alone: the shell gets a class of its own, so that
/// removing a parametrization from one side leaves the other's.
py::object blank_parametrized(const py::object& source);

/// Puts tensors into a ScriptModule's slots; `name` is a parameter's or a buffer's.
void assign_scripted(const py::object& module, core::SlotKind kind, std::string_view name, const py::object& tensor);

}  // namespace ramet::python
