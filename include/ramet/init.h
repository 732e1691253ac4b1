/// Fresh values for a clone: what the mode init needs between a plan and the clone.
///
/// An initialiser writes whatever it likes of its module and of what is beneath it, and tensors there may be the
/// source's own. So it never sees the clone: a front runs it on a scratch clone, which has nothing of the source's, and
/// hands the values of the tensors that are init to the clone.
#pragma once

#include <ramet/plan.h>

namespace ramet::core {

/// Plans the scratch clone: a copy of every tensor, standing where and being what it shall in the clone, so that values
/// are drawn as if the module was built there. Memory for tensors on meta that move to a device begins as zeros.
Plan plan_scratch(const Graph& graph, const Plan& plan);

/// Where an initialiser has put `now` in place of the scratch clone's tensor `id`: copies its values to that tensor, if
/// it is init, and so to what is a view of it. Throws PlanError, with the path, if it is of another shape.
void take_fresh(const Graph& graph, const Plan& plan, TensorId id, const at::Tensor& now,
                const std::vector<at::Tensor>& scratch);

/// Copies `scratch[t]` into `clone[t]` for every tensor t that is init. Throws PlanError, with the path, if an
/// initialiser has given it another shape.
void put_fresh(const Graph& graph, const Plan& plan, const std::vector<at::Tensor>& scratch,
               const std::vector<at::Tensor>& clone);

}  // namespace ramet::core
