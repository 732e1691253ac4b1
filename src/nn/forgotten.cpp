/// Counts uses before and after. Which class it was tells a copy of each module by itself: it may use no more of the
/// source than its dictionaries and its member list show.
#include "nn/forgotten.h"

#include <c10/util/Type.h>
#include <ramet/errors.h>
#include <ramet/paths.h>
#include <torch/csrc/autograd/variable.h>

#include <chrono>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "nn/access.h"
#include "nn/rebuild.h"

namespace ramet::nn {
namespace {

using core::NodeId;

std::size_t uses_of(const Walk& walk, NodeId node) {
  const core::TensorId tensor = walk.graph.nodes[node].tensor;
  if (tensor != core::none) return walk.graph.tensors[tensor].value.use_count();
  return walk.items[node].module->weak_from_this().use_count();
}

/// Counts the references that a module, or state, is known to hold.
class KnownUses final : public Visitor {
 public:
  std::size_t of(const void* object) const {
    const auto it = uses_.find(object);
    return it == uses_.end() ? 0 : it->second;
  }

  void add(torch::nn::Module& module) {
    for (const auto* tensors : {&detail::Dictionaries::parameters(module), &detail::Dictionaries::buffers(module)}) {
      for (const auto& item : *tensors) ++uses_[item.value().unsafeGetTensorImpl()];
    }
    for (const auto& item : detail::Dictionaries::children(module)) ++uses_[item.value().get()];
  }

  void tensor(std::string_view, at::Tensor& tensor) override { ++uses_[tensor.unsafeGetTensorImpl()]; }
  void module(std::string_view, const ModulePtr& module, const std::function<void(const ModulePtr&)>&) override {
    ++uses_[module.get()];
  }
  void back(std::string_view, const torch::nn::Module*, const std::function<void(const ModulePtr&)>&) override {}
  void state(std::string_view, const StatePtr&, const StateType&,
             const std::function<void(const StatePtr&)>&) override {}
  void group(std::string_view, const void*, const std::function<void(Visitor&)>& visit) override { visit(*this); }
  void refuse(std::string_view, const std::string&) override {}

 private:
  std::unordered_map<const void*, std::size_t> uses_;
};

/// A copy of one module or state, and what it is known to refer to.
struct Copy {
  std::shared_ptr<const void> copy;
  KnownUses known;
  std::string type;
};

Copy copy_of(const Walk& walk, NodeId node) {
  const Item& item = walk.items[node];
  Copy result;
  if (item.module != nullptr) {
    result.known.add(*item.module);
    item.type->visit(*item.module, result.known);
    result.copy = item.type->copy(*item.module);
    result.type = c10::demangle(typeid(*item.module).name());
  } else if (item.state != nullptr) {
    const void* const state = walk.graph.nodes[node].object;
    if (item.state->show != nullptr) item.state->show(const_cast<void*>(state), result.known);
    result.copy = item.state->copy(state);
    result.type = c10::demangle(item.state->type.name());
  }
  return result;
}

std::shared_ptr<const void> accumulator(const at::Tensor& tensor) {
  return std::make_shared<torch::autograd::Edge>(torch::autograd::impl::gradient_edge(tensor));
}

std::string named(const core::Paths& paths, NodeId node) {
  const std::string path = paths.path_of(node);
  return path.empty() ? "the source itself" : "'" + path + "'";
}

void append(std::string& list, const std::string& name) { list += (list.empty() ? "" : ", ") + name; }

/// What the clone may point to: what is kept or shared, of which untie may have made a second node, and what something
/// kept holds.
std::unordered_set<const void*> rightly_used(const Walk& walk, const core::Plan& plan) {
  std::unordered_set<const void*> result;
  for (const core::Node& node : walk.graph.nodes) {
    const bool held = node.fate == core::Fate::held;
    const bool shared = node.tensor != core::none && plan.tensors[node.tensor].mode == core::Mode::share;
    if (held || shared) result.insert(node.object);
    if (!held) continue;
    for (core::SlotId id = node.first; id < node.first + node.count; ++id) {
      const NodeId target = walk.graph.slots[id].target;
      if (target != core::none) result.insert(walk.graph.nodes[target].object);
    }
  }
  return result;
}

}  // namespace

Forgotten::Forgotten(const Walk& walk, const core::Plan& plan) : walk_(walk) {
  const std::unordered_set<const void*> used = rightly_used(walk, plan);
  for (NodeId node = 0; node < walk.items.size(); ++node) {
    if (used.contains(walk.graph.nodes[node].object)) continue;
    const core::TensorId tensor = walk.graph.nodes[node].tensor;
    const bool own = tensor != core::none || walk.items[node].module != nullptr;
    if (own) uses_.emplace_back(node, 0);
    if (own && tensor != core::none && plan.tensors[tensor].mode == core::Mode::differentiable) {
      accumulators_.push_back(accumulator(walk.graph.tensors[tensor].value));
    }
  }
  recount();
}

void Forgotten::recount() {
  for (auto& [node, uses] : uses_) uses = uses_of(walk_, node);
}

// Leaves what is in use more often than it was, at every look.
bool Forgotten::settles() {
  constexpr int looks = 200;
  for (int look = 0; look < looks && !uses_.empty(); ++look) {
    if (look > 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
    std::erase_if(uses_, [&](const auto& it) { return uses_of(walk_, it.first) <= it.second; });
  }
  return uses_.empty();
}

void Forgotten::check(const std::vector<at::Tensor>& tensors) {
  if (settles()) return;
  // Another thread may have taken something in the meantime to keep it, for a backward pass say.
  for (int again = 0; again < 2; ++again) {
    recount();
    const std::vector<detail::ModulePtr> rebuilt = rebuild(walk_, tensors);
    if (settles()) return;
  }
  report();
}

void Forgotten::report() const {
  const core::Paths paths(walk_.graph);
  for (NodeId node = 0; node < walk_.items.size(); ++node) {
    if (walk_.graph.nodes[node].fate != core::Fate::cloned) continue;
    std::vector<std::size_t> before;
    for (const auto& [suspect, uses] : uses_) before.push_back(uses_of(walk_, suspect));
    const Copy copied = copy_of(walk_, node);
    std::string held;
    for (std::size_t i = 0; i < uses_.size(); ++i) {
      const NodeId suspect = uses_[i].first;
      const std::size_t known = copied.known.of(walk_.graph.nodes[suspect].object);
      if (uses_of(walk_, suspect) > before[i] + known) append(held, named(paths, suspect));
    }
    if (held.empty()) continue;
    throw UncloneableError("clone: " + named(paths, node) + ": a copy of its class '" + copied.type +
                           "' still points to the source's " + held +
                           ": the class has a member that is not in its list; add it there (RAMET_MODULE or "
                           "ramet::fields), or say ramet::keep of it if it shall be the source's");
  }
  std::string held;
  for (const auto& [suspect, uses] : uses_) append(held, named(paths, suspect));
  throw UncloneableError("clone: something in the clone still points to the source's " + held +
                         "; a member that a copy constructor or a copy function has left behind is not in its list");
}

}  // namespace ramet::nn
