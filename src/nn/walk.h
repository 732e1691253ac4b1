/// Walks torch::nn modules into a Graph.
///
/// Input: the modules to clone, one or a session's. Output: a Walk: the graph, and for every node what rebuild needs. A
/// class that lists no members becomes a refused node. Changes nothing; worklist, not recursion.
#pragma once

#include <ramet/clone.h>
#include <ramet/graph.h>
#include <ramet/registry.h>

namespace ramet::nn {

/// What stands behind a node: a module, shared state, an optimizer, or a container of members.
struct Item {
  torch::nn::Module* module = nullptr;
  const detail::ModuleType* type = nullptr;
  const StateType* state = nullptr;  ///< For shared state.
  const torch::optim::Optimizer* optimizer = nullptr;
};

struct Walk {
  core::Graph graph;
  std::vector<Item> items;  ///< By NodeId.
};

/// Whether there is nothing to walk: no module, or a session without members.
inline bool is_empty(const detail::Source& source) {
  return source.kind == detail::Source::Kind::session ? source.members.empty() : source.module == nullptr;
}

/// `within`: the module that the source is a part of, or null. What is registered in it by a path that does not pass
/// through the source is held, and nothing beneath it looked at. Throws PlanError if the source is not registered in
/// it.
Walk walk(const detail::Source& source, const torch::nn::Module* within = nullptr);

/// Whether a slot has this name; as `graph.name(slot) == text`, without a search for the name's end.
inline bool has_name(const core::Graph& graph, core::SlotId slot, std::string_view text) {
  const uint32_t offset = graph.slots[slot].name;
  if (offset == core::none) return text.empty();
  if (graph.names.size() - offset <= text.size()) return false;
  const char* const name = graph.names.data() + offset;
  for (std::size_t i = 0; i < text.size(); ++i) {  // short: a call of memcmp takes longer
    if (name[i] != text[i]) return false;
  }
  return name[text.size()] == '\0';
}

/// Finds, for a member, the registered slot of its own module that holds the same object: such a member needs no slot,
/// it follows that one. Looks from where it found the last one, since members are listed much as they are registered.
class OwnSlots {
 public:
  explicit OwnSlots(const core::Graph& graph) : graph_(graph) {}

  /// The slot of `owner` that holds `object`, the one named `name` first; `none` if there is none.
  core::SlotId find(core::NodeId owner, std::string_view name, const void* object);

 private:
  const core::Graph& graph_;
  uint32_t next_ = 0;
};

/// Marks a node, and all that is beneath it, as kept.
void hold(core::Graph& graph, core::NodeId node);

/// Marks as kept what is reached only through what is kept: the clone has no place of its own for it.
void hold_unreached(core::Graph& graph);

}  // namespace ramet::nn
