/// Builds one clone from a Walk and its tensors.
///
/// Input: a Walk and the clone's tensors by TensorId. Output: the clone's modules by NodeId. Never looks at rules: it
/// maps slots, in the order in which the walk met them. Calls copy constructors of modules and of shared state, nothing
/// else of the user's; throws UncloneableError if one gives other registered slots than the source has.
#pragma once

#include "nn/walk.h"

namespace ramet::nn {

/// result[node] is the clone's module; null for nodes that are no modules, and for kept ones, which the clone refers to
/// as the source does.
std::vector<detail::ModulePtr> rebuild(const Walk& walk, const std::vector<at::Tensor>& tensors);

}  // namespace ramet::nn
