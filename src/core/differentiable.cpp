/// A tensor that does not require grad is copied like any other, and asks for nothing here.
#include "core/differentiable.h"

#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <ramet/errors.h>

namespace ramet::core {
namespace {

class Checker {
 public:
  Checker(const Graph& graph, const Rules& rules, const Plan& plan) : graph_(graph), rules_(rules), plan_(plan) {}

  void run() const {
    Graph linked;  // what has bytes in common only through a tensor that asks for no gradient has none here
    std::vector<TensorId> ids;
    for (TensorId id = 0; id < graph_.tensors.size(); ++id) {
      if (plan_.tensors[id].mode != Mode::differentiable) continue;
      check_mode(id);
      const Tensor& tensor = graph_.tensors[id];
      if (tensor.value._fw_grad(/*level=*/0).defined()) {
        refuse(id, "it carries a forward-mode tangent, which the clone would not have; clone outside of it");
      }
      if (!tensor.value.requires_grad()) continue;
      ids.push_back(id);
      linked.add_tensor(tensor.value);
      linked.tensors.back().part = tensor.part;
    }
    const std::vector<uint32_t> together = groups(linked);
    for (std::size_t i = 0; i < ids.size(); ++i) check(ids[i], ids[together[i]]);
  }

 private:
  void check_mode(TensorId id) const {
    if (c10::GradMode::is_enabled() && !c10::InferenceMode::is_enabled()) return;
    throw PlanError("clone: " + rule(id) +
                    " is of no use here, where gradients are disabled (no_grad or inference mode): nothing would flow "
                    "back to the source; clone outside of it, or use copy");
  }

  void check(TensorId id, TensorId first) const {
    if (first != id) {
      throw PlanError("clone: slots '" + path(first) + "' and '" + path(id) +
                      "' hold two tensors with bytes in common, and " + rule(id) +
                      " cannot keep that: what is written through one would not be in the other's history; untie them, "
                      "or name them in copy or share");
    }
    if (graph_.tensors[id].value.is_inference()) {
      refuse(id, "it is a tensor of inference mode, which autograd does not follow; make the source outside of it");
    }
    if (plan_.tensors[id].freeze != none) {
      refuse(id,
             "freeze=" + rules_.freeze[plan_.tensors[id].freeze].text +
                 " names it too, and it requires grad by what it is computed from; name less in freeze, or copy it");
    }
    if (graph_.tensors[id].trained) {
      refuse(id,
             "an optimizer of the session trains it, and cannot train what is computed; leave the optimizer out, and "
             "step by assign");
    }
    if (rules_.device && rules_.device->is_meta() && !graph_.tensors[id].value.is_meta()) {
      refuse(id, "no gradient comes back from device=meta, where nothing has values; drop one of the two");
    }
  }

  std::string rule(TensorId id) const { return "differentiable=" + rules_.modes[plan_.tensors[id].rule].where.text; }
  std::string path(TensorId id) const { return Paths(graph_).path_of(graph_.tensors[id].node); }

  [[noreturn]] void refuse(TensorId id, const std::string& why) const {
    throw PlanError("clone: slot '" + path(id) + "': " + rule(id) + " cannot apply to it: " + why);
  }

  const Graph& graph_;
  const Rules& rules_;
  const Plan& plan_;
};

}  // namespace

void check_differentiable(const Graph& graph, const Rules& rules, const Plan& plan) {
  Checker(graph, rules, plan).run();
}

}  // namespace ramet::core
