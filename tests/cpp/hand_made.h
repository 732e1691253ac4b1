/// Graphs made by hand, tersely: modules and tensors by name, without any module or Python.
#pragma once

#include <ramet/graph.h>

#include <map>
#include <utility>

namespace ramet::core {

/// Builds a Graph from a list of owners and what they hold. Node 0 is "".
class HandMade {
 public:
  struct Held {
    SlotKind kind;
    std::string name;
    std::string target;  ///< A module's or object's name, or a tensor's; "" for None.
  };

  /// Adds a node for `name`; the root is added first.
  HandMade& module(const std::string& name) { return node(name, NodeKind::module); }
  HandMade& object(const std::string& name) { return node(name, NodeKind::object); }
  HandMade& tensor(const std::string& name, at::Tensor value) {
    ids_[name] = graph.add_tensor(std::move(value));
    return *this;
  }

  /// Gives `owner` its slots, all at once.
  HandMade& slots(const std::string& owner, const std::vector<Held>& held) {
    for (const auto& [kind, name, target] : held) {
      graph.add_slot(ids_.at(owner), kind, graph.add_name(name), target.empty() ? none : ids_.at(target));
    }
    return *this;
  }

  NodeId operator[](const std::string& name) const { return ids_.at(name); }
  TensorId tensor_id(const std::string& name) const { return graph.nodes[ids_.at(name)].tensor; }

  Graph graph;

 private:
  HandMade& node(const std::string& name, NodeKind kind) {
    ids_[name] = graph.add_node(kind, nullptr);
    return *this;
  }

  std::map<std::string, NodeId> ids_;
};

inline constexpr SlotKind parameter = SlotKind::parameter, buffer = SlotKind::buffer, child = SlotKind::child,
                          state = SlotKind::state;

/// A root that holds the given tensors as parameters, each under its own name.
inline HandMade flat(const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  HandMade made;
  made.module("");
  std::vector<HandMade::Held> held;
  for (const auto& [name, value] : tensors) {
    made.tensor(name, value);
    held.push_back({parameter, name, name});
  }
  made.slots("", held);
  return made;
}

}  // namespace ramet::core
