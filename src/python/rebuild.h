/// Builds one clone from a Walk and its tensors.
///
/// Input: a Walk and the clone's tensors by TensorId. Output: the clone of the walk's source. Never looks at rules: it
/// maps slots, in the order in which the walk met them. User code runs only when all that is not the user's stands.
#pragma once

#include "python/walk.h"

namespace ramet::python {

/// Builds a clone; the source is read, never changed. `last`: no other clone is made of this walk, whose drafts then
/// become the clone's own. Throws RuntimeError if the source is no longer what the walk saw.
py::object rebuild(Walk& walk, const std::vector<at::Tensor>& tensors, bool last);

/// Builds the same, and gives what became of some modules of it.
std::vector<py::object> rebuild_modules(Walk& walk, const std::vector<at::Tensor>& tensors,
                                        const std::vector<core::NodeId>& modules);

}  // namespace ramet::python
