/// Selections from paths, globs and kinds.
#include <ramet/errors.h>
#include <ramet/rules.h>

#include <algorithm>
#include <array>

namespace ramet::core {
namespace {

/// A slot that holds None is nothing's: naming it is as good as naming a tensor.
bool is_tensor_slot(const Graph& graph, SlotId id) {
  const Slot& slot = graph.slots[id];
  return slot.target == none || graph.nodes[slot.target].kind == NodeKind::tensor;
}

[[noreturn]] void throw_nothing(const Paths& paths, std::string_view text, const std::string& quoted) {
  std::string message = "clone: " + quoted + " matches nothing";
  const std::vector<std::string> nearest = paths.nearest(text);
  for (std::size_t i = 0; i < nearest.size(); ++i)
    message += (i == 0 ? "; the nearest names are '" : ", '") + nearest[i] + "'";
  throw PlanError(message);
}

}  // namespace

void refuse_plain_state(const std::string& quoted) {
  throw PlanError("clone: " + quoted +
                  " names plain state, which holds no tensor of its own; a mode cannot apply to it: use keep=" +
                  quoted + " to have the clone hold the same object, or leave it out to have it copied");
}

std::string_view to_string(Mode mode) {
  constexpr std::array<std::string_view, 7> names{"copy", "share", "alias", "lazy", "differentiable", "init", "meta"};
  return names[static_cast<std::size_t>(mode)];
}

Selection select_all(std::string text) { return {Rank::all, SlotKind::parameter, std::move(text), {}, {}}; }

Selection select_kind(SlotKind kind, std::string text) { return {Rank::kind, kind, std::move(text), {}, {}}; }

Selection select_path(const Graph& graph, const Paths& paths, std::string_view text, std::string quoted) {
  Selection result{Rank::module, SlotKind::parameter, std::move(quoted), {}, {}};
  const std::optional<Place> place = paths.find(text);
  if (!place && is_glob(text)) {
    const std::vector<SlotId> matched = paths.match(text);
    std::copy_if(matched.begin(), matched.end(), std::back_inserter(result.slots),
                 [&](SlotId id) { return is_tensor_slot(graph, id); });
    if (!result.slots.empty()) return result;
    if (matched.empty()) throw_nothing(paths, text, result.text);
    const auto is_state = [&](SlotId id) { return graph.slots[id].kind == SlotKind::state; };
    if (std::any_of(matched.begin(), matched.end(), is_state)) refuse_plain_state(result.text);
    throw PlanError("clone: " + result.text + " matches modules only ('" + paths.path(matched[0]) +
                    "'), and a glob names tensors: give a module's path, or end the glob in .*");
  }
  if (!place) throw_nothing(paths, text, result.text);
  if (place->node == none) {
    result.rank = Rank::tensor;
    return result;
  }
  const Node& node = graph.nodes[place->node];
  const bool registered = place->slot == none || is_registered(graph.slots[place->slot].kind);
  if (node.kind == NodeKind::tensor) {
    result.rank = Rank::tensor;
    result.slots = {place->slot};
  } else if (node.kind == NodeKind::module || registered) {
    result.under = {place->node};
  } else {
    refuse_plain_state(result.text);
  }
  return result;
}

Selection select_if(const Graph& graph, const Paths& paths,
                    const std::function<bool(std::string_view path, NodeId tensor)>& named, std::string text) {
  Selection result{Rank::module, SlotKind::parameter, std::move(text), {}, {}};
  for (const SlotId id : paths.slots()) {
    const NodeId target = graph.slots[id].target;
    if (target == none || graph.nodes[target].tensor == none) continue;
    if (named(paths.path(id), target)) result.slots.push_back(id);
  }
  if (result.slots.empty()) throw PlanError("clone: " + result.text + " matches nothing: it is true of no tensor");
  return result;
}

Selection select_node(const Graph& graph, NodeId node, std::string text) {
  Selection result{Rank::module, SlotKind::parameter, std::move(text), {}, {}};
  std::vector<SlotId> held_in;
  for (SlotId id = 0; id < graph.slots.size(); ++id) {
    if (graph.slots[id].target == node && graph.slots[id].kind != SlotKind::back) held_in.push_back(id);
  }
  if (graph.nodes[node].kind == NodeKind::tensor) {
    result.rank = Rank::tensor;
    result.slots = std::move(held_in);
    return result;
  }
  const auto is_child = [&](SlotId id) { return graph.slots[id].kind == SlotKind::child; };
  const bool plain =
      graph.nodes[node].kind == NodeKind::object && node != 0 && std::none_of(held_in.begin(), held_in.end(), is_child);
  if (plain) refuse_plain_state(result.text);
  result.under = {node};
  return result;
}

Selection select_type(std::vector<NodeId> modules, std::string text) {
  if (modules.empty()) throw PlanError("clone: " + text + " matches nothing: the source has no module of that type");
  return {Rank::type, SlotKind::parameter, std::move(text), std::move(modules), {}};
}

}  // namespace ramet::core
