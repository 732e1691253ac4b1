/// What a front found: modules, tensors and plain objects, and the named slots that hold them.
///
/// A front's walk makes a Graph; every later stage reads it. Nodes and slots refer to each other by index; paths are
/// made only when someone asks (see paths.h). The core knows no module and no Python: `Node::object` is an identity.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ramet::core {

using NodeId = uint32_t;
using SlotId = uint32_t;
using TensorId = uint32_t;

/// No node, slot, tensor, name, rule or block.
inline constexpr uint32_t none = UINT32_MAX;

/// What a node is. `object`: a session's container, an optimizer, plain state.
enum class NodeKind : uint8_t { module, tensor, object };

/// What becomes of a node. `held`: the clone keeps the source's own object, nothing beneath it is cloned;
/// `refused`: it cannot be cloned (an error, unless a boundary keeps it).
enum class Fate : uint8_t { cloned, held, refused };

/// How an owner holds what is in a slot. `parameter`, `buffer` and `child` (also a session's members) are registered;
/// `state` is a plain reference; `back` gives no path, and no rule follows it: weak edges, rebuilt last, and what an
/// optimizer keeps for its parameters.
enum class SlotKind : uint8_t { parameter, buffer, child, state, back };

inline bool is_registered(SlotKind kind) { return kind <= SlotKind::child; }

struct Node {
  NodeKind kind = NodeKind::object;
  Fate fate = Fate::cloned;
  TensorId tensor = none;        ///< For a tensor: its index in Graph::tensors.
  const void* object = nullptr;  ///< Identity only.
  SlotId first = 0;              ///< Its slots are [first, first + count).
  uint32_t count = 0;
};

struct Slot {
  NodeId owner = none;
  NodeId target = none;  ///< `none` if the slot holds None or an undefined tensor.
  uint32_t name = none;  ///< Offset in Graph::names; `none` for a slot that no path can name.
  SlotKind kind = SlotKind::state;
};

struct Tensor {
  at::Tensor value;
  NodeId node = none;
  uint32_t part = 0;           ///< Tensors of different parts never tie: untie made them.
  bool opaque = false;         ///< The front clones it by itself (a tensor subclass): materialize leaves it undefined.
  bool follows_dtype = false;  ///< Of what it follows; else only the device.
  bool trained = false;        ///< An optimizer of the session steps it.
  TensorId follows = none;     ///< An optimizer's state: its parameter, with which it moves.
};

/// Why a node cannot be cloned, in words that follow the path: "a lock (type '_thread.lock') cannot be copied".
struct Refusal {
  NodeId node = none;
  std::string reason;
  bool keepable = true;  ///< Whether the clone could hold the source's own instead.
};

/// All of it. Node 0 is the root; `tensors` are in the order in which the walk met them.
struct Graph {
  std::vector<Node> nodes;
  std::vector<Slot> slots;
  std::vector<Tensor> tensors;
  std::vector<Refusal> refusals;
  std::string names;  ///< The slots' names, each ended by a NUL.

  /// Appends a node that has no slots yet.
  NodeId add_node(NodeKind kind, const void* object) {
    nodes.push_back({kind, Fate::cloned, none, object, 0, 0});
    return static_cast<NodeId>(nodes.size() - 1);
  }

  /// Appends a tensor and its node; `value` must be defined. Its identity is its TensorImpl.
  NodeId add_tensor(at::Tensor value) {
    const NodeId node = add_node(NodeKind::tensor, value.unsafeGetTensorImpl());
    nodes[node].tensor = static_cast<TensorId>(tensors.size());
    tensors.push_back({std::move(value), node});
    return node;
  }

  /// Appends a slot to `owner`. All slots of one owner are added in one go, with none of another's between.
  SlotId add_slot(NodeId owner, SlotKind kind, uint32_t name, NodeId target) {
    const auto id = static_cast<SlotId>(slots.size());
    if (nodes[owner].count++ == 0) nodes[owner].first = id;
    slots.push_back({owner, target, name, kind});
    return id;
  }

  /// Stores a name and returns its offset, for `add_slot`.
  uint32_t add_name(std::string_view name) {
    const auto offset = static_cast<uint32_t>(names.size());
    names.append(name).push_back('\0');
    return offset;
  }

  /// The slots of a node.
  std::span<const Slot> slots_of(NodeId node) const { return {slots.data() + nodes[node].first, nodes[node].count}; }

  /// The name of a slot; empty if it has none.
  std::string_view name(SlotId slot) const {
    const uint32_t offset = slots[slot].name;
    return offset == none ? std::string_view() : std::string_view(names.c_str() + offset);
  }
};

/// Visits what is beneath `module`: what is registered in it at any depth, and the plain state of all that.
///
/// Plain references to modules do not count. Calls `enter(node)` for every module and plain object on the way, `module`
/// itself included, and for tensors that have slots of their own (attributes); goes on beneath it if that returns true.
/// Each node is entered once.
void walk_beneath(const Graph& graph, NodeId module, const std::function<bool(NodeId)>& enter);

}  // namespace ramet::core
