/// Lays out the storages that a plan copies. Private to the core.
#pragma once

#include <ramet/plan.h>

namespace ramet::core {

/// Adds to `plan` a block for every storage that its copied, lazy and meta tensors use, and each tensor's place in it.
/// What cannot be lazy becomes a copy.
void lay_out(const Graph& graph, Plan& plan);

}  // namespace ramet::core
