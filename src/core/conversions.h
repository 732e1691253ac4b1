/// Device and dtype of the clone's tensors. Private to the core.
#pragma once

#include <ramet/plan.h>

namespace ramet::core {

/// Notes in `plan` which tensors move to the rules' device and which become of their dtype: registered ones that are
/// the clone's own, and what is tied to them; dtype only where floating or complex. Throws PlanError, with the path,
/// where that cannot be: for what stays the source's own, from complex to real, for one of two dtypes over the same
/// bytes, and for a tensor that clones itself.
void convert(const Graph& graph, const Catalog& catalog, const Rules& rules, Plan& plan);

}  // namespace ramet::core
