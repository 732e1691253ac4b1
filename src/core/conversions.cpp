/// Decides who changes device or dtype, before any block is laid out.
#include "core/conversions.h"

#include <ramet/errors.h>

namespace ramet::core {
namespace {

class Converter {
 public:
  Converter(const Graph& graph, const Catalog& catalog, const Rules& rules, Plan& plan)
      : graph_(graph), catalog_(catalog), rules_(rules), plan_(plan), registered_(graph.tensors.size()) {
    for (const Slot& slot : graph.slots) {
      const TensorId id = slot.target == none ? none : graph.nodes[slot.target].tensor;
      if (id != none && is_registered(slot.kind)) registered_[catalog.groups[id]] = true;
    }
  }

  void run() {
    plan_.device = rules_.device;
    for (TensorId id = 0; id < graph_.tensors.size(); ++id) {
      if (registered_[catalog_.groups[id]]) decide(id);
    }
    for (TensorId id = 0; id < graph_.tensors.size(); ++id) {
      if (graph_.tensors[id].follows != none) follow(id);
    }
    check_one_dtype();
  }

 private:
  void decide(TensorId id) {
    const at::Tensor& value = graph_.tensors[id].value;
    Decision& decision = plan_.tensors[id];
    const bool moves = rules_.device && decision.mode != Mode::meta && !is_on(value.device(), *rules_.device);
    const bool number = at::isFloatingType(value.scalar_type()) || at::isComplexType(value.scalar_type());
    const bool casts = rules_.dtype && number && value.scalar_type() != *rules_.dtype;
    if (!moves && !casts) return;
    if (decision.mode == Mode::share || decision.mode == Mode::alias) {
      refuse(id, std::string("it would have to change, and it is ") +
                     (decision.held                  ? "kept"
                      : decision.mode == Mode::share ? "shared"
                                                     : "aliased") +
                     ": move the source before, or copy it");
    }
    if (graph_.tensors[id].opaque) {
      refuse(id, "it is of a tensor subclass that clones itself: clone first, then move the clone by .to()");
    }
    if (moves && rules_.device->is_meta() && !has_bytes(value)) {
      refuse(id, "it is sparse or quantized, and has more to it than shape and dtype: move the clone by .to() instead");
    }
    if (moves && value.is_meta() && decision.mode != Mode::init) {
      refuse(id, "it has no values to bring along: give it some by init, or load them into a clone that stays on meta");
    }
    if (casts && at::isComplexType(value.scalar_type()) && !at::isComplexType(*rules_.dtype)) {
      refuse(id, "it is complex, and would lose its imaginary part: use a complex dtype");
    }
    decision.moves = moves;
    if (casts) decision.dtype = *rules_.dtype;
  }

  // As Optimizer.load_state_dict casts.
  void follow(TensorId id) {
    const Tensor& tensor = graph_.tensors[id];
    const Decision& parameter = plan_.tensors[tensor.follows];
    Decision& decision = plan_.tensors[id];
    if ((decision.mode != Mode::copy && decision.mode != Mode::lazy) || tensor.opaque) return;
    decision.moves = parameter.moves;
    if (tensor.follows_dtype && tensor.value.is_floating_point() && tensor.value.scalar_type() != parameter.dtype) {
      decision.dtype = parameter.dtype;
    }
  }

  // "cuda" is whichever cuda device is the present one.
  static bool is_on(at::Device device, at::Device wanted) {
    return device == wanted || (device.type() == wanted.type() && !wanted.has_index());
  }

  void check_one_dtype() const {
    for (TensorId id = 0; id < graph_.tensors.size(); ++id) {
      const TensorId first = catalog_.groups[id];
      const bool casts = plan_.tensors[id].dtype != at::ScalarType::Undefined ||
                         plan_.tensors[first].dtype != at::ScalarType::Undefined;
      const at::Tensor &a = graph_.tensors[first].value, &b = graph_.tensors[id].value;
      if (!casts || a.scalar_type() == b.scalar_type()) continue;
      refuse(id, "it has bytes in common with '" + path(first) + "', which is of another dtype (" +
                     c10::toString(b.scalar_type()) + " and " + c10::toString(a.scalar_type()) +
                     "): cast neither, or untie them");
    }
  }

  std::string path(TensorId id) const { return Paths(graph_).path_of(graph_.tensors[id].node); }

  [[noreturn]] void refuse(TensorId id, const std::string& why) const {
    const at::Tensor& value = graph_.tensors[id].value;
    std::string asked;
    if (rules_.device) asked = "device=" + rules_.device->str();
    if (rules_.dtype) asked += (asked.empty() ? "dtype=" : ", dtype=") + std::string(c10::toString(*rules_.dtype));
    throw PlanError("clone: slot '" + path(id) + "' (" + value.device().str() + ", " +
                    c10::toString(value.scalar_type()) + "): " + asked + " cannot apply to it: " + why);
  }

  const Graph& graph_;
  const Catalog& catalog_;
  const Rules& rules_;
  Plan& plan_;
  std::vector<bool> registered_;  // by group
};

}  // namespace

void convert(const Graph& graph, const Catalog& catalog, const Rules& rules, Plan& plan) {
  Converter(graph, catalog, rules, plan).run();
}

}  // namespace ramet::core
