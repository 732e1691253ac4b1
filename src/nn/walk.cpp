/// The walk over torch::nn modules: the dictionaries first, then the members that refer to something else.
#include "nn/walk.h"

#include <c10/util/Type.h>
#include <ramet/errors.h>

#include <set>
#include <typeindex>

#include "core/fetch.h"
#include "nn/access.h"
#include "nn/identities.h"
#include "nn/optimizers.h"

namespace ramet::nn {
namespace {

using core::NodeId;
using core::NodeKind;
using core::none;
using core::SlotId;
using core::SlotKind;

class Walker final : public Visitor {
 public:
  explicit Walker(Walk& walk) : walk_(walk), graph_(walk.graph), own_slots_(walk.graph), identities_(walk.graph) {}

  void run(const detail::Source& source, const torch::nn::Module* within) {
    if (within != nullptr) add_outside(source, *within);
    visit(source);
    for (NodeId node = 0; node < graph_.nodes.size(); ++node) expand(node);
    for (const auto& [slot, module] : backs_) {
      graph_.slots[slot].target = identities_.find(module);
    }
    // What shares bytes with a tensor that stays outside stays tied to it.
    for (const at::Tensor& tensor : outside_tensors_) visit(tensor);
    hold_tensors();
    for (const NodeId node : kept_) hold(graph_, node);
    if (!kept_.empty()) hold_unreached(graph_);
  }

  void tensor(std::string_view name, at::Tensor& tensor) override {
    if (!tensor.defined()) return empty(name);
    add_member(name, tensor.unsafeGetTensorImpl(), [&] { return visit(tensor); });
  }

  void module(std::string_view name, const ModulePtr& module, const std::function<void(const ModulePtr&)>&) override {
    add_member(name, module.get(), [&] { return visit(module.get()); });
  }

  void back(std::string_view name, const torch::nn::Module* module,
            const std::function<void(const ModulePtr&)>&) override {
    if (own_slots_.find(owner_, name, module) != none) return;
    const core::SlotId slot = graph_.add_slot(owner_, SlotKind::back, named(name), none);
    if (!keeping) backs_.emplace_back(slot, module);
  }

  void state(std::string_view name, const StatePtr& state, const StateType& type,
             const std::function<void(const StatePtr&)>&) override {
    add_member(name, state.get(), [&] {
      const auto [it, added] = states_.try_emplace({state.get(), type.type}, none);
      if (!added) return it->second;
      const NodeId node = it->second = add(NodeKind::object, state.get());
      walk_.items[node].state = &type;
      void* const value = const_cast<void*>(state.get());
      if (type.show != nullptr) groups_.emplace_back(node, [&type, value](Visitor& inner) { type.show(value, inner); });
      return node;
    });
  }

  void group(std::string_view name, const void* identity, const std::function<void(Visitor&)>& visit) override {
    const NodeId node = add(NodeKind::object, identity);
    groups_.emplace_back(node, visit);
    graph_.add_slot(owner_, SlotKind::state, named(name), node);
    if (keeping) kept_.push_back(node);
  }

  // A slot that rules match, unless a registered one has its name: an undefined bias has both.
  void empty(std::string_view name) override {
    if (name.find('.') != name.npos) return;
    const core::Node& owner = graph_.nodes[owner_];
    for (SlotId id = owner.first; id < owner.first + owner.count; ++id) {
      if (!core::is_registered(graph_.slots[id].kind)) break;
      if (has_name(graph_, id, name)) return;
    }
    graph_.add_slot(owner_, SlotKind::state, graph_.add_name(name), none);
  }

  // Laid to the child, which can then be kept.
  void refuse(std::string_view name, const std::string& reason) override {
    NodeId node = owner_;
    for (SlotId id = graph_.nodes[owner_].first; id < graph_.slots.size(); ++id) {
      const core::Slot& slot = graph_.slots[id];
      if (slot.kind == SlotKind::child && slot.target != none && has_name(graph_, id, name)) node = slot.target;
    }
    graph_.nodes[node].fate = core::Fate::refused;
    graph_.refusals.push_back(
        {node, (node == owner_ ? "its '" + std::string(name) + "' is " : "it is held by ") + reason});
  }

 private:
  NodeId add(NodeKind kind, const void* object) {
    walk_.items.emplace_back();
    return graph_.add_node(kind, object);
  }

  // A key with a dot would read as two steps of a path: it has none.
  uint32_t named(std::string_view name) { return name.find('.') == name.npos ? graph_.add_name(name) : none; }

  // Everything registered in `root`, but not through the source.
  void add_outside(const detail::Source& source, const torch::nn::Module& root) {
    std::set<const torch::nn::Module*> inside;
    root.apply([&](const torch::nn::Module& module) { inside.insert(&module); });
    std::set<const torch::nn::Module*> own;
    add_modules(source, own);
    for (const torch::nn::Module* module : own) {
      if (module == nullptr || inside.count(module) != 0) continue;
      throw PlanError("clone: within=<a " + root.name() + ">: the source (a module of type '" +
                      c10::demangle(typeid(*module).name()) +
                      "') is not registered in it, at any depth; leave within out, or give the module that holds it");
    }
    std::vector<const torch::nn::Module*> work{&root};
    while (!work.empty()) {
      torch::nn::Module& module = *const_cast<torch::nn::Module*>(work.back());
      work.pop_back();
      if (own.count(&module) != 0 || !outside_.insert(&module).second) continue;
      for (const auto* tensors : {&detail::Dictionaries::parameters(module), &detail::Dictionaries::buffers(module)}) {
        for (const auto& item : *tensors) {
          if (!item.value().defined()) continue;
          outside_.insert(item.value().unsafeGetTensorImpl());
          outside_tensors_.push_back(item.value());
        }
      }
      for (const auto& item : detail::Dictionaries::children(module)) {
        if (item.value()) work.push_back(item.value().get());
      }
    }
    drop_members(source);
  }

  // A member tensor that the root holds too is the session's.
  void drop_members(const detail::Source& source) {
    if (source.tensor.defined()) outside_.erase(source.tensor.unsafeGetTensorImpl());
    for (const detail::Source& member : source.members) drop_members(member);
  }

  static void add_modules(const detail::Source& source, std::set<const torch::nn::Module*>& modules) {
    if (source.module != nullptr) modules.insert(source.module);
    for (const detail::Source& member : source.members) add_modules(member, modules);
  }

  // At the boundary: kept as it is.
  bool is_outside(const void* object) const { return !outside_.empty() && outside_.count(object) != 0; }

  // A session's containers are expanded later, as everything else; their members stand in `sessions_`.
  NodeId visit(const detail::Source& source) {
    switch (source.kind) {
      case detail::Source::Kind::module:
        return source.module == nullptr ? none : visit(source.module);
      case detail::Source::Kind::tensor:
        return source.tensor.defined() ? visit(source.tensor) : none;
      case detail::Source::Kind::optimizer:
        return source.optimizer == nullptr ? none : visit(source.optimizer);
      default:
        const NodeId node = add(NodeKind::object, &source);
        sessions_[node] = &source;
        return node;
    }
  }

  NodeId visit(const torch::optim::Optimizer* optimizer) {
    const auto [node, added] = identities_.find_or_next(optimizer);
    if (!added) return node;
    add(NodeKind::object, optimizer);
    walk_.items[node].optimizer = optimizer;
    return node;
  }

  NodeId add_object(NodeId owner, const std::string& name, SlotKind kind = SlotKind::state) {
    const NodeId node = add(NodeKind::object, nullptr);
    graph_.add_slot(owner, kind, graph_.add_name(name), node);
    return node;
  }

  void expand_session(NodeId node) {
    for (const detail::Source& member : sessions_.at(node)->members) {
      const NodeId target = visit(member);
      const bool tensor = member.kind == detail::Source::Kind::tensor;
      const SlotKind as = member.tensor.requires_grad() ? SlotKind::parameter : SlotKind::buffer;
      graph_.add_slot(node, tensor ? as : SlotKind::child, named(member.name), target);
    }
  }

  // `param_groups.0.params.0`, as in Python. No rule reaches the state, which moves with its parameter.
  void expand_optimizer(NodeId node) {
    const torch::optim::Optimizer& optimizer = *walk_.items[node].optimizer;
    if (std::string unknown = why_unknown(optimizer); !unknown.empty()) {
      graph_.nodes[node].fate = core::Fate::refused;
      graph_.refusals.push_back({node, std::move(unknown), /*keepable=*/false});
      return;
    }
    const OptimizerParts parts = parts_of(optimizer);
    const NodeId groups = add_object(node, "param_groups"), states = add_object(node, "state", SlotKind::back);
    std::vector<NodeId> parameters, group_nodes, state_nodes;
    for (std::size_t i = 0; i < parts.groups.size(); ++i) group_nodes.push_back(add_object(groups, std::to_string(i)));
    for (const auto& [place, tensors] : parts.state) state_nodes.push_back(add_object(states, std::to_string(place)));
    std::vector<NodeId> params_nodes;
    for (const NodeId group : group_nodes) params_nodes.push_back(add_object(group, "params"));
    for (std::size_t i = 0; i < parts.groups.size(); ++i) {
      for (std::size_t k = 0; k < parts.groups[i].size(); ++k) {
        parameters.push_back(visit(parts.groups[i][k]));
        graph_.tensors[graph_.nodes[parameters.back()].tensor].trained = true;
        graph_.add_slot(params_nodes[i], SlotKind::state, graph_.add_name(std::to_string(k)), parameters.back());
      }
    }
    for (std::size_t i = 0; i < parts.state.size(); ++i) {
      const auto& [place, tensors] = parts.state[i];
      for (const auto& [name, tensor] : tensors) {
        const NodeId target = visit(tensor);
        graph_.add_slot(state_nodes[i], SlotKind::state, graph_.add_name(name), target);
        core::Tensor& state = graph_.tensors[graph_.nodes[target].tensor];
        state.follows = graph_.nodes[parameters[place]].tensor;
        state.follows_dtype = true;
      }
    }
  }

  NodeId visit(const torch::nn::Module* module) {
    const auto [node, added] = identities_.find_or_next(module);
    if (!added) return node;
    add(NodeKind::module, module);
    if (is_outside(module)) graph_.nodes[node].fate = core::Fate::held;
    // The walk only reads; a Visitor gets mutable members because rebuild writes those of the copy.
    walk_.items[node].module = const_cast<torch::nn::Module*>(module);
    return node;
  }

  // The graph gets its reference later, by `hold_tensors`: until then the source has one.
  NodeId visit(const at::Tensor& tensor) {
    const auto [node, added] = identities_.find_or_next(tensor.unsafeGetTensorImpl());
    if (!added) return node;
    add(NodeKind::tensor, tensor.unsafeGetTensorImpl());
    graph_.nodes[node].tensor = static_cast<core::TensorId>(graph_.tensors.size());
    graph_.tensors.push_back({at::Tensor(), node});
    if (is_outside(tensor.unsafeGetTensorImpl())) graph_.nodes[node].fate = core::Fate::held;
    return node;
  }

  // All in one go: to count a reference waits until everything written before has reached memory.
  void hold_tensors() {
    const auto impl = [&](std::size_t id) {
      return static_cast<c10::TensorImpl*>(const_cast<void*>(graph_.nodes[graph_.tensors[id].node].object));
    };
    for (std::size_t id = 0; id < graph_.tensors.size(); ++id) {
      if (id + 8 < graph_.tensors.size()) core::fetch_lines<1>(impl(id + 8));
      graph_.tensors[id].value =
          at::Tensor(c10::intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>::reclaim_copy(impl(id)));
    }
  }

  template <class Visit>
  void add_member(std::string_view name, const void* object, const Visit& visit) {
    const core::SlotId own = own_slots_.find(owner_, name, object);
    NodeId target = none;
    if (own == none) {
      target = visit();
      graph_.add_slot(owner_, SlotKind::state, named(name), target);
    } else {
      target = graph_.slots[own].target;
    }
    if (keeping) kept_.push_back(target);
  }

  void expand(NodeId node) {
    if (graph_.nodes[node].kind == NodeKind::tensor) return;
    owner_ = node;
    if (graph_.nodes[node].kind == NodeKind::module) return expand_module(node);
    if (sessions_.count(node) != 0) return expand_session(node);
    if (walk_.items[node].optimizer != nullptr) return expand_optimizer(node);
    if (next_group_ < groups_.size() && groups_[next_group_].first == node) {
      const auto show = std::move(groups_[next_group_++].second);
      show(*this);
    }
  }

  void expand_module(NodeId node) {
    if (is_outside(walk_.items[node].module)) return;
    torch::nn::Module& module = *walk_.items[node].module;
    for (const auto& item : detail::Dictionaries::parameters(module)) {
      add_tensor_slot(node, SlotKind::parameter, item.key(), item.value());
    }
    for (const auto& item : detail::Dictionaries::buffers(module)) {
      add_tensor_slot(node, SlotKind::buffer, item.key(), item.value());
    }
    reserve(detail::Dictionaries::children(module).size());
    for (const auto& item : detail::Dictionaries::children(module)) {
      graph_.add_slot(node, SlotKind::child, graph_.add_name(item.key()),
                      item.value() ? visit(item.value().get()) : none);
    }
    const detail::ModuleType* type = detail::find_type(typeid(module));
    if (type == nullptr) {
      graph_.nodes[node].fate = core::Fate::refused;
      graph_.refusals.push_back({node, detail::unlisted(typeid(module))});
      return;
    }
    walk_.items[node].type = type;
    type->visit(module, *this);
  }

  // Room for many children and two tensors of each, as most have: what grows step by step is written several times.
  void reserve(std::size_t children) {
    if (children < 64) return;
    const auto make_room = [](auto& vector, std::size_t more) {
      const std::size_t needed = vector.size() + more;
      if (needed > vector.capacity()) vector.reserve(std::max(needed, 2 * vector.capacity()));
    };
    make_room(graph_.nodes, 3 * children);
    make_room(graph_.slots, 3 * children);
    make_room(graph_.tensors, 2 * children);
    make_room(walk_.items, 3 * children);
  }

  void add_tensor_slot(NodeId owner, SlotKind kind, const std::string& name, const at::Tensor& tensor) {
    graph_.add_slot(owner, kind, graph_.add_name(name), tensor.defined() ? visit(tensor) : none);
  }

  Walk& walk_;
  core::Graph& graph_;
  OwnSlots own_slots_;
  NodeId owner_ = 0;
  Identities identities_;
  // By type too: the first member of a struct lies where the struct does.
  std::map<std::pair<const void*, std::type_index>, NodeId> states_;
  std::vector<std::pair<core::SlotId, const torch::nn::Module*>> backs_;
  std::vector<std::pair<NodeId, std::function<void(Visitor&)>>> groups_;  // in the order of their nodes
  std::size_t next_group_ = 0;
  std::map<NodeId, const detail::Source*> sessions_;
  std::set<const void*> outside_;  // modules and tensors that stay those of the root that the source is a part of
  std::vector<at::Tensor> outside_tensors_;
  std::vector<NodeId> kept_;  // by a `keep` in a member list
};

}  // namespace

Walk walk(const detail::Source& source, const torch::nn::Module* within) {
  Walk result;
  Walker(result).run(source, within);
  return result;
}

core::SlotId OwnSlots::find(core::NodeId owner, std::string_view name, const void* object) {
  const core::Node& node = graph_.nodes[owner];
  core::SlotId found = none;
  if (node.kind != NodeKind::module) return found;
  uint32_t at = next_;
  for (uint32_t i = 0; i < node.count; ++i, ++at) {
    if (at >= node.count) at = 0;
    const core::SlotId id = node.first + at;
    const core::Slot& slot = graph_.slots[id];
    if (!is_registered(slot.kind) || slot.target == none || graph_.nodes[slot.target].object != object) continue;
    if (has_name(graph_, id, name)) {
      next_ = at + 1;
      return id;
    }
    found = std::min(found, id);
  }
  return found;
}

void hold(core::Graph& graph, NodeId node) {
  if (graph.nodes[node].kind == NodeKind::tensor) {
    graph.nodes[node].fate = core::Fate::held;
    return;
  }
  core::walk_beneath(graph, node, [&](NodeId inner) {
    graph.nodes[inner].fate = core::Fate::held;
    for (const core::Slot& slot : graph.slots_of(inner)) {
      if (slot.target != none && graph.nodes[slot.target].kind == NodeKind::tensor) {
        graph.nodes[slot.target].fate = core::Fate::held;
      }
    }
    return true;
  });
}

void hold_unreached(core::Graph& graph) {
  std::vector<char> reached(graph.nodes.size());
  std::vector<NodeId> work{0};
  reached[0] = true;
  while (!work.empty()) {
    const NodeId node = work.back();
    work.pop_back();
    if (graph.nodes[node].fate == core::Fate::held) continue;
    for (const core::Slot& slot : graph.slots_of(node)) {
      if (slot.target == none) continue;
      const bool weak = slot.kind == SlotKind::back && graph.nodes[slot.target].kind == NodeKind::module;
      if (weak || std::exchange(reached[slot.target], true)) continue;
      work.push_back(slot.target);
    }
  }
  for (NodeId node = 0; node < graph.nodes.size(); ++node) {
    if (!reached[node]) graph.nodes[node].fate = core::Fate::held;
  }
}

}  // namespace ramet::nn
