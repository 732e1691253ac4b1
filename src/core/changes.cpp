/// Finds the slots to change, with every error that tie, untie and assign can have.
#include <ramet/catalog.h>
#include <ramet/changes.h>
#include <ramet/errors.h>
#include <ramet/paths.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "core/references.h"

namespace ramet::core {
namespace {

std::string quoted(const std::string& path) { return "'" + path + "'"; }

std::string joined(const std::vector<std::string>& paths) {
  std::string result;
  for (const std::string& path : paths) result += (result.empty() ? "" : ", ") + quoted(path);
  return result;
}

/// "float32 [4, 2] on cpu".
std::string described(const at::Tensor& tensor) {
  std::ostringstream out;
  out << c10::getDtypeNames(tensor.scalar_type()).first << " " << tensor.sizes() << " on " << tensor.device();
  return out.str();
}

bool beneath(const Graph& graph, NodeId inner, NodeId outer) {
  bool found = false;
  walk_beneath(graph, outer, [&](NodeId node) {
    found = found || node == inner;
    return !found;
  });
  return found;
}

/// What the three have in common: how paths are looked up, and what can be changed at all.
class Editor {
 public:
  Editor(std::string verb, const Graph& graph, const Objects& objects)
      : graph(graph), objects(objects), paths(graph), verb_(std::move(verb)) {}

  [[noreturn]] void fail(const std::string& message) const { throw PlanError(verb_ + ": " + message); }

  /// The slot, and the tensor or module in it, that a path names.
  Place find(const std::string& path) const {
    const std::optional<Place> place = paths.find(path);
    if (!place) {
      const std::string nearest = joined(paths.nearest(path));
      fail("there is no " + quoted(path) + (nearest.empty() ? "" : "; the nearest names are " + nearest));
    }
    if (place->slot == none) fail(quoted(path) + " names the model itself; name a slot within it");
    if (place->node == none) fail(quoted(path) + " holds None; register a tensor or a module there first");
    if (graph.nodes[place->node].kind == NodeKind::object) {
      fail(quoted(path) + " names plain state, neither a tensor nor a module; name a slot that holds one");
    }
    return *place;
  }

  bool is_module(NodeId node) const { return graph.nodes[node].kind == NodeKind::module; }
  const at::Tensor& tensor(NodeId node) const { return graph.tensors[graph.nodes[node].tensor].value; }

  bool in_parameter_slot(NodeId node) const {
    return std::any_of(graph.slots.begin(), graph.slots.end(),
                       [&](const Slot& slot) { return slot.target == node && slot.kind == SlotKind::parameter; });
  }

  /// The paths of the registered slots that hold `node`, each by its first.
  std::vector<std::string> registered_paths(NodeId node) const {
    std::vector<std::string> result;
    for (const SlotId id : paths.slots()) {
      if (graph.slots[id].target == node && is_registered(graph.slots[id].kind)) result.push_back(paths.path(id));
    }
    return result;
  }

  /// Checks that the owners of the slots let them be changed.
  Changes checked(Changes changes) const {
    for (const Change& change : changes.slots) {
      const NodeId owner = graph.slots[change.slot].owner;
      if (graph.nodes[owner].kind == NodeKind::object && graph.slots[change.slot].kind == SlotKind::child) {
        fail(quoted(paths.path(change.slot)) +
             " is a member of the session, which is not changed: name what is within it, or replace it yourself");
      }
      for (const Refusal& refusal : graph.refusals) {
        if (refusal.node == owner) {
          throw UncloneableError(verb_ + ": slot " + quoted(paths.path(change.slot)) + ": " + refusal.reason);
        }
      }
    }
    return changes;
  }

  const Graph& graph;
  const Objects& objects;
  const Paths paths;

 private:
  const std::string verb_;
};

void check_alike(const Editor& it, const std::string& first, NodeId a, const std::string& later, NodeId b) {
  if (it.is_module(a) != it.is_module(b)) {
    const std::string& module = it.is_module(a) ? first : later;
    it.fail(quoted(module) + " is a module and " + quoted(it.is_module(a) ? later : first) +
            " a tensor; tie modules with modules, tensors with tensors");
  }
  if (!it.is_module(a)) {
    const at::Tensor &x = it.tensor(a), &y = it.tensor(b);
    if (x.sizes() == y.sizes() && x.dtype() == y.dtype() && x.device() == y.device()) return;
    it.fail(quoted(first) + " is " + described(x) + ", " + quoted(later) + " is " + described(y) +
            "; tied slots hold one tensor: bring them to one shape, dtype and device first");
  }
  if (a == b) return;
  for (const bool outward : {false, true}) {
    if (!beneath(it.graph, outward ? a : b, outward ? b : a)) continue;
    it.fail(quoted(outward ? first : later) + " is beneath " + quoted(outward ? later : first) +
            "; a module cannot be tied to one within it");
  }
  if (it.objects.same_type(a, b)) return;
  it.fail(quoted(first) + " is of type '" + it.objects.type_name(a) + "', " + quoted(later) + " of type '" +
          it.objects.type_name(b) + "'; tied slots hold one module: both must be of exactly the same type");
}

/// A tensor that is reached through a module with two names has them too, though only one slot.
void check_not_within_tied(const Editor& it, const std::string& path, SlotId slot) {
  for (const std::string& text : {path, it.paths.path(slot)}) {
    for (std::size_t dot = text.find('.'); dot != text.npos; dot = text.find('.', dot + 1)) {
      const std::string outer = text.substr(0, dot);
      const std::optional<Place> place = it.paths.find(outer);
      if (!place || place->node == none || !it.is_module(place->node)) continue;
      const std::vector<std::string> names = it.registered_paths(place->node);
      if (names.size() < 2) continue;
      // By a plain reference one slot is reached as well as another: any name of the module will do.
      const bool plain = place->slot != none && !is_registered(it.graph.slots[place->slot].kind);
      const std::string named = plain ? names.back() : outer;
      it.fail(quoted(path) + " is reached through the module " + quoted(named) + ", which has the names " +
              joined(names) + "; untie the module: " + quoted(named));
    }
  }
}

/// A module is untied by a clone, which must not fail once the first slot is changed.
void check_cloneable(const Editor& it, SlotId slot) {
  for (const Refusal& refusal : it.graph.refusals) {
    if (it.graph.nodes[refusal.node].fate != Fate::refused) continue;
    if (!beneath(it.graph, refusal.node, it.graph.slots[slot].target)) continue;
    throw UncloneableError("untie: slot " + quoted(it.paths.path(slot)) + " needs a copy of its module, in which " +
                           quoted(it.paths.path_of(refusal.node)) + " is in the way: " + refusal.reason);
  }
}

Changes untied(const Editor& it, const std::vector<SlotId>& slots) {
  Changes result;
  Replacements olds;
  std::map<SlotId, uint32_t> now;  // by named slot
  for (const SlotId slot : slots) {
    const NodeId old = it.graph.slots[slot].target;
    if (it.is_module(old)) check_cloneable(it, slot);
    now[slot] = result.sources.size();
    result.sources.push_back(old);
    result.slots.push_back({slot, old, now[slot]});
    olds[old] = 0;
  }
  for (const auto& [change, leader] : followers(it.graph, references(it.graph, it.objects, olds))) {
    const auto found = now.find(leader);
    if (found != now.end()) result.slots.push_back({change.slot, change.old, found->second});
  }
  return it.checked(std::move(result));
}

/// One tensor, or two detached from one, as a state_dict has them.
bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  if (a.is_same(b)) return true;
  return has_bytes(a) && has_bytes(b) && a.is_alias_of(b) && a.storage_offset() == b.storage_offset() &&
         a.strides() == b.strides() && !a.requires_grad() && !b.requires_grad();
}

Changes assigned(const Editor& it, const std::vector<std::pair<std::string, NodeId>>& named,
                 std::vector<Given>& given) {
  Changes result;
  Replacements now;
  for (uint32_t i = 0; i < named.size(); ++i) {
    const auto& [path, node] = named[i];
    if (it.is_module(node)) it.fail(quoted(path) + " is a module; name the tensors within it, each by its path");
    at::Tensor& value = given[i].value;
    if (!value.defined()) it.fail(quoted(path) + " is given an undefined tensor");
    const at::Tensor& held = it.tensor(node);
    const bool device = held.is_meta() || held.device() == value.device();
    if (held.sizes() != value.sizes() || held.dtype() != value.dtype() || !device) {
      it.fail(quoted(path) + " is " + described(held) + ", and is given " + described(value) +
              "; shape, dtype and device must agree" +
              (held.is_meta() ? " (the device not, where the slot's tensor is on meta)" : ""));
    }
    const auto [before, added] = now.try_emplace(node, i);
    result.sources.push_back(node);
    if (!added && !same_bytes(given[before->second].value, value)) {
      it.fail(quoted(named[before->second].first) + " and " + quoted(path) +
              " are one tensor, and are given two; give it under one of its names");
    }
  }
  for (const auto& [node, i] : now) {
    auto& [value, is_parameter] = given[i];
    if (is_parameter || value.requires_grad() || !it.in_parameter_slot(node)) continue;
    value = value.detach().set_requires_grad(it.tensor(node).requires_grad());
  }
  result.slots = references(it.graph, it.objects, now);
  return it.checked(std::move(result));
}

}  // namespace

Changes tie(const Graph& graph, const Objects& objects, const std::vector<std::string>& paths) {
  const Editor it("tie", graph, objects);
  if (paths.size() < 2) {
    it.fail("give two paths at least: the later ones get what the first one holds; got " +
            (paths.empty() ? "none" : "only " + quoted(paths[0])));
  }
  const NodeId first = it.find(paths[0]).node;
  Replacements later;
  for (std::size_t i = 1; i < paths.size(); ++i) {
    const NodeId node = it.find(paths[i]).node;
    check_alike(it, paths[0], first, paths[i], node);
    if (node != first) later[node] = 0;
  }
  Changes result{{first}, references(graph, objects, later)};
  drop_unreached(graph, later, result.slots);
  if (!it.is_module(first) && !it.in_parameter_slot(first) && !objects.is_parameter(first)) {
    for (const Change& change : result.slots) {
      if (graph.slots[change.slot].kind != SlotKind::parameter) continue;
      it.fail(quoted(it.paths.path(change.slot)) + " is a parameter, which what " + quoted(paths[0]) +
              " holds is not; name the parameter first");
    }
  }
  return it.checked(std::move(result));
}

Changes untie(const Graph& graph, const Objects& objects, const std::vector<std::string>& paths) {
  const Editor it("untie", graph, objects);
  if (paths.empty()) it.fail("give the paths to untie, or True (true in C++) for all");
  std::set<SlotId> tied;
  for (const Tie& tie : catalog(graph).ties) tied.insert(tie.slots.begin(), tie.slots.end());
  std::vector<SlotId> slots;
  for (const std::string& path : paths) {
    const auto [slot, node] = it.find(path);
    check_not_within_tied(it, path, slot);
    if (tied.count(slot) == 0) {
      const std::vector<std::string> names = it.registered_paths(node);
      const bool plain = !is_registered(graph.slots[slot].kind) && !names.empty();
      it.fail(quoted(path) + (plain ? " is a plain reference, which stays in step with " + joined(names) + "; name that"
                                    : " is not tied to anything"));
    }
    if (std::find(slots.begin(), slots.end(), slot) == slots.end()) slots.push_back(slot);
  }
  return untied(it, slots);
}

Changes untie_all(const Graph& graph, const Objects& objects) {
  std::vector<SlotId> slots;
  for (const Tie& tie : catalog(graph).ties) slots.insert(slots.end(), tie.slots.begin() + 1, tie.slots.end());
  return untied(Editor("untie", graph, objects), slots);
}

Changes assign(const Graph& graph, const Objects& objects, const std::vector<std::string>& paths,
               std::vector<Given>& given) {
  const Editor it("assign", graph, objects);
  std::vector<std::pair<std::string, NodeId>> named;
  for (const std::string& path : paths) named.emplace_back(path, it.find(path).node);
  return assigned(it, named, given);
}

Changes assign(const Graph& graph, const Objects& objects, std::vector<Given>& given) {
  const Editor it("assign", graph, objects);
  const std::vector<bool> within = registered_nodes(graph);
  std::vector<std::pair<std::string, NodeId>> named;
  std::set<NodeId> met;
  for (const SlotId id : it.paths.slots()) {
    const Slot& slot = graph.slots[id];
    const bool counts = slot.kind == SlotKind::parameter && slot.target != none && within[slot.owner];
    if (counts && met.insert(slot.target).second) named.emplace_back(it.paths.path(id), slot.target);
  }
  if (named.size() != given.size()) {
    it.fail("got " + std::to_string(given.size()) + " tensors for " + std::to_string(named.size()) +
            " parameters; give one for each, in the order of parameters() (a tied one once), or a mapping by path");
  }
  return assigned(it, named, given);
}

void set_apart(Graph& graph) {
  std::vector<bool> within(graph.nodes.size());
  walk_beneath(graph, 0, [&](NodeId node) {
    within[node] = true;
    for (const Slot& slot : graph.slots_of(node)) {
      if (slot.target == none || slot.kind == SlotKind::back) continue;
      if (graph.nodes[slot.target].kind == NodeKind::tensor) within[slot.target] = true;
    }
    return true;
  });
  for (NodeId node = 0; node < graph.nodes.size(); ++node) {
    if (!within[node]) graph.nodes[node].fate = Fate::held;
  }
  for (Tensor& tensor : graph.tensors) tensor.part = within[tensor.node] ? 1 : 0;
}

}  // namespace ramet::core
