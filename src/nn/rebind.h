/// Rebinds the slots of live modules, and the members that follow them.
#pragma once

#include <ramet/changes.h>

#include "nn/walk.h"

namespace ramet::nn {

/// What a slot is to hold: a tensor or a module.
struct Value {
  at::Tensor tensor;
  detail::ModulePtr module;
};

/// Carries out the changes of one walk, with `values` by Change::now.
void rebind(const Walk& walk, const core::Changes& changes, const std::vector<Value>& values);

}  // namespace ramet::nn
