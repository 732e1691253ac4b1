/// Rebuilds in two passes: every module is copied by one level, then every handle in the copies is rebound. State is
/// copied when the first handle to it is met, and what is in it rebound after that, from a worklist.
#include "nn/rebuild.h"

#include <ramet/errors.h>

#include "nn/access.h"

namespace ramet::nn {
namespace {

using core::NodeId;
using core::NodeKind;
using core::none;
using core::SlotId;
using core::SlotKind;

class Rebuilder final : public Visitor {
 public:
  Rebuilder(const Walk& walk, const std::vector<at::Tensor>& tensors)
      : walk_(walk), graph_(walk.graph), tensors_(tensors), own_slots_(walk.graph), modules_(walk.items.size()) {}

  std::vector<ModulePtr> run() {
    const auto end = static_cast<NodeId>(walk_.items.size());
    for (NodeId node = 0; node < end; ++node) {
      if (walk_.items[node].module != nullptr && !held(node)) {
        modules_[node] = walk_.items[node].type->copy(*walk_.items[node].module);
      }
    }
    for (NodeId node = 0; node < end; ++node) {
      if (modules_[node]) rebind(node);
    }
    while (!unbound_.empty()) {
      const NodeId node = unbound_.back();
      unbound_.pop_back();
      enter(node);
      walk_.items[node].state->show(const_cast<void*>(states_[node].get()), *this);
    }
    return std::move(modules_);
  }

  void tensor(std::string_view name, at::Tensor& tensor) override {
    if (!tensor.defined()) return;
    const NodeId node = target(name, tensor.unsafeGetTensorImpl());
    if (node != none) tensor = tensors_[graph_.nodes[node].tensor];
  }

  void module(std::string_view name, const ModulePtr& module,
              const std::function<void(const ModulePtr&)>& assign) override {
    const NodeId node = target(name, module.get());
    if (node != none && modules_[node]) assign(modules_[node]);
  }

  void back(std::string_view name, const torch::nn::Module* module,
            const std::function<void(const ModulePtr&)>& assign) override {
    const NodeId node = target(name, module);
    if (node != none && modules_[node]) assign(modules_[node]);
  }

  void state(std::string_view name, const StatePtr& state, const StateType&,
             const std::function<void(const StatePtr&)>& assign) override {
    const NodeId node = target(name, state.get());
    if (node == none || held(node)) return;
    states_.resize(walk_.items.size());
    if (!states_[node]) {
      const StateType& type = *walk_.items[node].state;
      states_[node] = type.copy(state.get());
      if (type.show != nullptr && states_[node]) unbound_.push_back(node);
    }
    assign(states_[node]);
  }

  void group(std::string_view name, const void*, const std::function<void(Visitor&)>& visit) override {
    const NodeId node = target(name, nullptr);
    if (node == none || held(node)) return;
    const auto outer = std::pair(owner_, next_);
    enter(node);
    visit(*this);
    std::tie(owner_, next_) = outer;
  }

  void refuse(std::string_view, const std::string&) override {}

 private:
  void enter(NodeId node) {
    owner_ = node;
    next_ = graph_.nodes[node].first;
  }

  bool held(NodeId node) const { return graph_.nodes[node].fate == core::Fate::held; }

  // The node of what a member refers to: that of the module's own slot, or of the member's.
  NodeId target(std::string_view name, const void* object) {
    const SlotId own = object == nullptr ? none : own_slots_.find(owner_, name, object);
    const SlotId slot = own == none ? slot_of(name) : own;
    return slot == none ? none : graph_.slots[slot].target;
  }

  // The slot that the walk made for a member: the next one, unless a copy constructor has left something out. None for
  // what it has added, which is the clone's own already.
  SlotId slot_of(std::string_view name) {
    const core::Node& owner = graph_.nodes[owner_];
    for (uint32_t i = 0; i < owner.count; ++i) {
      const SlotId id = owner.first + (next_ - owner.first + i) % owner.count;
      const core::Slot& slot = graph_.slots[id];
      if (core::is_registered(slot.kind) && graph_.nodes[owner_].kind == NodeKind::module) continue;
      const bool same = slot.name == none ? name.find('.') != name.npos : has_name(graph_, id, name);
      if (!same) continue;
      next_ = id + 1;
      return id;
    }
    return none;
  }

  void rebind(NodeId node) {
    torch::nn::Module& module = *modules_[node];
    enter(node);
    bool same = rebind(detail::Dictionaries::parameters(module), SlotKind::parameter) &&
                rebind(detail::Dictionaries::buffers(module), SlotKind::buffer) &&
                rebind(detail::Dictionaries::children(module), SlotKind::child);
    same = same && (next_ == end() || !core::is_registered(graph_.slots[next_].kind));
    if (!same) throw_other_slots();
    walk_.items[node].type->visit(module, *this);
  }

  // Follows a dictionary's slots; false if it holds others than the source's.
  template <class Dictionary>
  bool rebind(Dictionary& dictionary, SlotKind kind) {
    for (auto& item : dictionary) {
      if (next_ == end() || graph_.slots[next_].kind != kind) return false;
      const NodeId node = graph_.slots[next_++].target;
      if (node == none) continue;
      if constexpr (std::is_same_v<Dictionary, torch::OrderedDict<std::string, at::Tensor>>) {
        item.value() = tensors_[graph_.nodes[node].tensor];
      } else if (modules_[node]) {
        item.value() = modules_[node];
      }
    }
    return true;
  }

  SlotId end() const { return graph_.nodes[owner_].first + graph_.nodes[owner_].count; }

  [[noreturn]] void throw_other_slots() const {
    const std::string path = core::Paths(graph_).path_of(owner_);
    const torch::nn::Module& module = *walk_.items[owner_].module;
    throw UncloneableError("clone: " + (path.empty() ? "the source itself" : "slot '" + path + "'") +
                           ": the copy constructor of type '" + c10::demangle(typeid(module).name()) +
                           "' gives other parameters, buffers or children than it was given; let it copy its base "
                           "torch::nn::Module, and register nothing");
  }

  const Walk& walk_;
  const core::Graph& graph_;
  const std::vector<at::Tensor>& tensors_;
  OwnSlots own_slots_;
  std::vector<ModulePtr> modules_;
  std::vector<StatePtr> states_;
  std::vector<NodeId> unbound_;  // states whose copies still refer to what the source's do
  NodeId owner_ = 0;
  SlotId next_ = 0;
};

}  // namespace

std::vector<detail::ModulePtr> rebuild(const Walk& walk, const std::vector<at::Tensor>& tensors) {
  return Rebuilder(walk, tensors).run();
}

}  // namespace ramet::nn
