/// Rebuilds in two passes: every module is copied by one level, then every handle in the copies is rebound.
#include "nn/rebuild.h"

#include "nn/access.h"

namespace ramet::nn {
namespace {

using core::NodeId;
using core::NodeKind;
using core::none;
using core::SlotId;

class Rebuilder final : public Visitor {
 public:
  Rebuilder(const Walk& walk, const std::vector<at::Tensor>& tensors)
      : walk_(walk),
        graph_(walk.graph),
        tensors_(tensors),
        own_slots_(walk.graph),
        modules_(walk.items.size()),
        states_(walk.items.size()) {}

  std::vector<ModulePtr> run() {
    for (NodeId node = 0; node < walk_.items.size(); ++node) {
      if (walk_.items[node].module != nullptr && !held(node)) {
        modules_[node] = walk_.items[node].type->copy(*walk_.items[node].module);
      }
    }
    for (NodeId node = 0; node < walk_.items.size(); ++node) {
      if (modules_[node]) rebind(node);
    }
    return std::move(modules_);
  }

  void tensor(std::string_view name, at::Tensor& tensor) override {
    if (!tensor.defined()) return;
    tensor = tensors_[graph_.nodes[target(name, tensor.unsafeGetTensorImpl())].tensor];
  }

  void module(std::string_view name, const ModulePtr& module,
              const std::function<void(const ModulePtr&)>& assign) override {
    const NodeId node = target(name, module.get());
    if (modules_[node]) assign(modules_[node]);
  }

  void back(std::string_view name, const torch::nn::Module* module,
            const std::function<void(const ModulePtr&)>& assign) override {
    const NodeId node = target(name, module);
    if (modules_[node]) assign(modules_[node]);
  }

  void state(std::string_view name, const StatePtr& state, StatePtr (*copy)(const void*),
             const std::function<void(const StatePtr&)>& assign) override {
    const NodeId node = target(name, state.get());
    if (held(node)) return;
    if (!states_[node]) states_[node] = copy(state.get());
    assign(states_[node]);
  }

  void group(std::string_view, const void*, const std::function<void(Visitor&)>& visit) override {
    const NodeId node = graph_.slots[next_++].target;
    if (held(node)) return;
    const auto outer = std::pair(owner_, next_);
    owner_ = node;
    next_ = graph_.nodes[node].first;
    visit(*this);
    std::tie(owner_, next_) = outer;
  }

 private:
  bool held(NodeId node) const { return graph_.nodes[node].fate == core::Fate::held; }

  // The node of what a member refers to: that of the module's own slot, or of the member's.
  NodeId target(std::string_view name, const void* object) {
    const SlotId own = own_slots_.find(owner_, name, object);
    return graph_.slots[own != none ? own : next_++].target;
  }

  void rebind(NodeId node) {
    torch::nn::Module& module = *modules_[node];
    owner_ = node;
    next_ = graph_.nodes[node].first;
    for (auto& item : detail::Dictionaries::parameters(module)) rebind(item.value());
    for (auto& item : detail::Dictionaries::buffers(module)) rebind(item.value());
    for (auto& item : detail::Dictionaries::children(module)) {
      const NodeId child = graph_.slots[next_++].target;
      if (child != none && modules_[child]) item.value() = modules_[child];
    }
    walk_.items[node].type->visit(module, *this);
  }

  void rebind(at::Tensor& tensor) {
    const NodeId node = graph_.slots[next_++].target;
    if (node != none) tensor = tensors_[graph_.nodes[node].tensor];
  }

  const Walk& walk_;
  const core::Graph& graph_;
  const std::vector<at::Tensor>& tensors_;
  OwnSlots own_slots_;
  std::vector<ModulePtr> modules_;
  std::vector<StatePtr> states_;
  NodeId owner_ = 0;
  SlotId next_ = 0;
};

}  // namespace

std::vector<detail::ModulePtr> rebuild(const Walk& walk, const std::vector<at::Tensor>& tensors) {
  return Rebuilder(walk, tensors).run();
}

}  // namespace ramet::nn
