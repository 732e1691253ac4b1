/// Rewrites a graph so that a second name is a second thing.
#include <ramet/catalog.h>
#include <ramet/errors.h>
#include <ramet/untie.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/beneath.h"

namespace ramet::core {
namespace {

bool is_tensor(const Graph& graph, SlotId slot) {
  const NodeId target = graph.slots[slot].target;
  return target != none && graph.nodes[target].kind == NodeKind::tensor;
}

/// All slots that some tie lists.
std::set<SlotId> tied_slots(const Graph& graph) {
  std::set<SlotId> result;
  for (const Tie& tie : catalog(graph).ties) result.insert(tie.slots.begin(), tie.slots.end());
  return result;
}

/// The slot on the way to `path` by which a module with several names is reached last; `none` if there is none.
SlotId through_tied_module(const Paths& paths, const std::set<SlotId>& tied, std::string_view path) {
  for (std::size_t end = path.rfind('.'); end != path.npos && end > 0; end = path.rfind('.', end - 1)) {
    const std::optional<Place> place = paths.find(path.substr(0, end));
    if (place && place->slot != none && tied.count(place->slot) != 0) return place->slot;
  }
  return none;
}

class Untier {
 public:
  explicit Untier(Graph& graph) : graph_(graph), first_added_(static_cast<NodeId>(graph.nodes.size())) {
    for (const Tensor& tensor : graph.tensors) part_ = std::max(part_, tensor.part);
  }

  std::vector<NodeId> run(const std::set<SlotId>& named) {
    for (const SlotId slot : named) check(slot);
    // What is within a module first, so that the module's twin is untied as it is; an inner module's slots come later.
    for (const SlotId slot : named) {
      if (is_tensor(graph_, slot)) untie_tensor(slot);
    }
    for (auto slot = named.rbegin(); slot != named.rend(); ++slot) {
      if (!is_tensor(graph_, *slot)) untie_module(*slot);
    }
    return std::move(stands_for_);
  }

 private:
  void check(SlotId slot) const {
    const auto held = [&](NodeId node) { return graph_.nodes[node].fate == Fate::held; };
    const Slot& it = graph_.slots[slot];
    if (!held(it.owner) && !held(it.target)) return;
    throw PlanError("clone: slot '" + Paths(graph_).path(slot) + "': untie names it, and keep keeps what it holds" +
                    (held(it.owner) ? ", with the module that it is in" : "") +
                    ": it cannot have both; drop one of the two, or share its other names instead of keeping them");
  }

  // Whether nothing but `slots` names the same node: then it stays, of a part of its own.
  bool alone(const std::vector<SlotId>& slots) const {
    const NodeId target = graph_.slots[slots[0]].target;
    for (SlotId id = 0; id < graph_.slots.size(); ++id) {
      const Slot& other = graph_.slots[id];
      const bool named = other.target == target && other.kind != SlotKind::back;
      if (named && std::find(slots.begin(), slots.end(), id) == slots.end()) return false;
    }
    return true;
  }

  // Tensors of one part stay so in a twin, and those of two do too.
  uint32_t part_for(uint32_t part) {
    const auto [it, added] = parts_.try_emplace(part, part_ + 1);
    if (added) ++part_;
    return it->second;
  }

  NodeId add_node(NodeId like) {
    Node node = graph_.nodes[like];
    node.first = node.count = 0;
    if (node.kind == NodeKind::tensor) {
      node.fate = Fate::cloned;
      Tensor tensor = graph_.tensors[node.tensor];
      tensor.part = part_for(tensor.part);
      node.tensor = static_cast<TensorId>(graph_.tensors.size());
      tensor.node = static_cast<NodeId>(graph_.nodes.size());
      graph_.tensors.push_back(std::move(tensor));
    }
    graph_.nodes.push_back(node);
    stands_for_.push_back(original(like));
    return static_cast<NodeId>(graph_.nodes.size() - 1);
  }

  NodeId original(NodeId node) const { return node < first_added_ ? node : stands_for_[node - first_added_]; }

  // The slots of `like` again, their targets as `twins` says.
  void add_slots(NodeId node, NodeId like, const std::map<NodeId, NodeId>& twins) {
    for (uint32_t i = 0; i < graph_.nodes[like].count; ++i) {
      const Slot slot = graph_.slots[graph_.nodes[like].first + i];
      const auto twin = twins.find(slot.target);
      graph_.add_slot(node, slot.kind, slot.name, twin == twins.end() ? slot.target : twin->second);
    }
  }

  // A tensor's slot, and what in the plain state of its module refers to the same tensor, unless another slot there
  // does too.
  std::vector<SlotId> with_followers(SlotId slot) const {
    const NodeId owner = graph_.slots[slot].owner, shared = graph_.slots[slot].target;
    std::vector<SlotId> result{slot};
    const auto slots = graph_.slots_of(owner);
    const auto registered = [&](const Slot& it) { return is_registered(it.kind) && it.target == shared; };
    const bool own = is_registered(graph_.slots[slot].kind);
    if (!own || std::count_if(slots.begin(), slots.end(), registered) > 1) return result;
    std::vector<NodeId> plain{owner};
    for (std::size_t i = 0; i < plain.size(); ++i) {
      const Node node = graph_.nodes[plain[i]];
      for (SlotId id = node.first; id < node.first + node.count; ++id) {
        const Slot& it = graph_.slots[id];
        if (it.kind != SlotKind::state || it.target == none) continue;
        if (it.target == shared) result.push_back(id);
        const bool object = graph_.nodes[it.target].kind == NodeKind::object;
        if (object && std::find(plain.begin(), plain.end(), it.target) == plain.end()) plain.push_back(it.target);
      }
    }
    return result;
  }

  void untie_tensor(SlotId slot) {
    const NodeId shared = graph_.slots[slot].target;
    const std::vector<SlotId> slots = with_followers(slot);
    parts_.clear();
    if (alone(slots)) {
      uint32_t& part = graph_.tensors[graph_.nodes[shared].tensor].part;
      part = part_for(part);
      return;
    }
    const NodeId own = add_node(shared);
    add_slots(own, shared, {});
    for (const SlotId id : slots) graph_.slots[id].target = own;
  }

  // Twice: what is beneath the module gets twins, then the twins get slots.
  void untie_module(SlotId slot) {
    parts_.clear();
    std::vector<NodeId> region;
    std::set<NodeId> met;
    const auto add = [&](NodeId node) {
      if (met.insert(node).second) region.push_back(node);
    };
    Beneath(graph_).walk(graph_.slots[slot].target, [&](NodeId node) {
      add(node);
      for (const Slot& it : graph_.slots_of(node)) {
        const bool tensor = it.target != none && graph_.nodes[it.target].kind == NodeKind::tensor;
        if (tensor && it.kind != SlotKind::back) add(it.target);
      }
      return true;
    });
    if (alone({slot})) {
      for (const NodeId node : region) {
        if (graph_.nodes[node].tensor == none) continue;
        uint32_t& part = graph_.tensors[graph_.nodes[node].tensor].part;
        part = part_for(part);
      }
      return;
    }
    std::map<NodeId, NodeId> twins;
    for (const NodeId node : region) twins[node] = add_node(node);
    for (const NodeId node : region) add_slots(twins[node], node, twins);
    graph_.slots[slot].target = twins[graph_.slots[slot].target];
  }

  Graph& graph_;
  const NodeId first_added_;
  std::vector<NodeId> stands_for_;
  uint32_t part_ = 0;
  std::map<uint32_t, uint32_t> parts_;  // of the slot being untied
};

}  // namespace

Selection select_tied(const Graph& graph, const Paths& paths, std::string_view text, std::string quoted) {
  Selection result{Rank::tensor, SlotKind::parameter, std::move(quoted), {}, {}};
  const std::set<SlotId> tied = tied_slots(graph);
  const std::optional<Place> place = paths.find(text);
  if (!place && is_glob(text)) {
    for (const SlotId slot : paths.match(text)) {
      if (is_tensor(graph, slot) && tied.count(slot) != 0) result.slots.push_back(slot);
    }
    if (result.slots.empty()) throw PlanError("clone: untie=" + result.text + " matches no tensor that is tied");
    return result;
  }
  if (!place) {
    std::string message = "clone: untie=" + result.text + " matches nothing";
    const std::vector<std::string> nearest = paths.nearest(text);
    for (std::size_t i = 0; i < nearest.size(); ++i)
      message += (i == 0 ? "; the nearest names are '" : ", '") + nearest[i] + "'";
    throw PlanError(message);
  }
  if (place->slot != none && tied.count(place->slot) != 0) {
    result.slots = {place->slot};
    return result;
  }
  const SlotId module = through_tied_module(paths, tied, text);
  if (module != none) {
    const std::size_t end = text.rfind('.');
    std::string path(text.substr(0, end));
    while (paths.find(path)->slot != module) path.resize(path.rfind('.'));
    throw PlanError("clone: untie=" + result.text + " is reached through module '" + path +
                    "', which has two names: untie the module, by untie='" + path + "'");
  }
  throw PlanError("clone: untie=" + result.text + " names a slot that is not tied to anything; drop it");
}

Selection select_all_tied(const Graph& graph, std::string text) {
  Selection result{Rank::all, SlotKind::parameter, std::move(text), {}, {}};
  for (const Tie& tie : catalog(graph).ties) {
    result.slots.insert(result.slots.end(), tie.slots.begin() + 1, tie.slots.end());
  }
  return result;
}

std::vector<NodeId> untie(Graph& graph, const std::vector<Selection>& where) {
  std::set<SlotId> named;
  for (const Selection& selection : where) named.insert(selection.slots.begin(), selection.slots.end());
  return Untier(graph).run(named);
}

}  // namespace ramet::core
