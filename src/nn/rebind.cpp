/// Shows every listed member once more: what is found in a slot that changes is set. Shared state waits in a worklist.
#include "nn/rebind.h"

#include <map>
#include <set>
#include <tuple>

#include "nn/access.h"

namespace ramet::nn {
namespace {

using core::NodeId;
using core::none;
using core::SlotId;

class Rebinder final : public Visitor {
 public:
  Rebinder(const Walk& walk, const core::Changes& changes, const std::vector<Value>& values)
      : walk_(walk), graph_(walk.graph), values_(values), own_slots_(walk.graph), now_(walk.graph.slots.size(), none) {
    for (const core::Change& change : changes.slots) now_[change.slot] = change.now;
    for (const Item& item : walk.items) {
      if (item.module != nullptr) held_.push_back(item.module->weak_from_this().lock());
    }
    for (SlotId id = 0; id < graph_.slots.size(); ++id) {
      const core::Slot& slot = graph_.slots[id];
      if (slot.target == none || core::is_registered(slot.kind)) continue;
      plain_.emplace(std::tuple(slot.owner, graph_.nodes[slot.target].object, graph_.name(id)), id);
    }
  }

  void run() {
    for (NodeId node = 0; node < walk_.items.size(); ++node) {
      if (walk_.items[node].module == nullptr || walk_.items[node].type == nullptr) continue;
      torch::nn::Module& module = *walk_.items[node].module;
      SlotId next = graph_.nodes[node].first;
      for (auto& item : detail::Dictionaries::parameters(module)) set(next++, item.value());
      for (auto& item : detail::Dictionaries::buffers(module)) set(next++, item.value());
      for (auto& item : detail::Dictionaries::children(module)) set(next++, item.value());
      owner_ = node;
      walk_.items[node].type->visit(module, *this);
    }
    while (!states_.empty()) {
      const auto [node, state] = states_.back();
      states_.pop_back();
      owner_ = node;
      walk_.items[node].state->show(state, *this);
    }
  }

  void tensor(std::string_view name, at::Tensor& tensor) override {
    if (tensor.defined()) set(slot_of(name, tensor.unsafeGetTensorImpl()), tensor);
  }

  void module(std::string_view name, const ModulePtr& module,
              const std::function<void(const ModulePtr&)>& assign) override {
    back(name, module.get(), assign);
  }

  void back(std::string_view name, const torch::nn::Module* module,
            const std::function<void(const ModulePtr&)>& assign) override {
    const SlotId slot = slot_of(name, module);
    if (slot != none && now_[slot] != none) assign(values_[now_[slot]].module);
  }

  void state(std::string_view name, const StatePtr& state, const StateType& type,
             const std::function<void(const StatePtr&)>&) override {
    const SlotId slot = slot_of(name, state.get());
    if (slot == none || type.show == nullptr || !met_.insert(graph_.slots[slot].target).second) return;
    states_.emplace_back(graph_.slots[slot].target, const_cast<void*>(state.get()));
  }

  void group(std::string_view name, const void* identity, const std::function<void(Visitor&)>& visit) override {
    const SlotId slot = slot_of(name, identity);
    if (slot == none) return;
    const NodeId outer = std::exchange(owner_, graph_.slots[slot].target);
    visit(*this);
    owner_ = outer;
  }

  void refuse(std::string_view, const std::string&) override {}

 private:
  void set(SlotId slot, at::Tensor& tensor) const {
    if (slot != none && now_[slot] != none) tensor = values_[now_[slot]].tensor;
  }

  void set(SlotId slot, ModulePtr& module) const {
    if (now_[slot] != none) module = values_[now_[slot]].module;
  }

  // The slot that a member follows, its module's own or the one that the walk made for it; `none` if it has neither.
  SlotId slot_of(std::string_view name, const void* object) {
    const SlotId own = own_slots_.find(owner_, name, object);
    if (own != none) return own;
    const auto found = plain_.find({owner_, object, name.find('.') == name.npos ? name : std::string_view()});
    return found == plain_.end() ? none : found->second;
  }

  const Walk& walk_;
  const core::Graph& graph_;
  const std::vector<Value>& values_;
  std::vector<ModulePtr> held_;  // a module that leaves the model is yet to be shown
  OwnSlots own_slots_;
  std::vector<uint32_t> now_;                                                  // by SlotId
  std::map<std::tuple<NodeId, const void*, std::string_view>, SlotId> plain_;  // by owner, object and name
  std::set<NodeId> met_;                                                       // shared state
  std::vector<std::pair<NodeId, void*>> states_;
  NodeId owner_ = 0;
};

}  // namespace

void rebind(const Walk& walk, const core::Changes& changes, const std::vector<Value>& values) {
  Rebinder(walk, changes, values).run();
}

}  // namespace ramet::nn
