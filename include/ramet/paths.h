/// Dotted names: from a slot to its first path, and from a path or a glob to what it names.
///
/// Made from a Graph when someone asks for a path; a clone that no rule addresses by name never makes one.
#pragma once

#include <ramet/graph.h>

#include <optional>

namespace ramet::core {

/// Where a path leads. The root has a node and no slot; a slot that holds None has no node.
struct Place {
  SlotId slot = none;
  NodeId node = none;
};

/// The paths of one graph, which must outlive it.
///
/// Walk order is the order of `named_parameters`: depth first, a module's own tensors before its children, what is
/// registered before what is plain state. A node's first path runs through registered slots wherever one does.
class Paths {
 public:
  explicit Paths(const Graph& graph);

  /// Every slot that has a path, in walk order.
  const std::vector<SlotId>& slots() const { return order_; }

  /// The first path of a slot; empty if it has none.
  std::string path(SlotId slot) const;

  /// The first path of a node; empty for the root, or if it has none.
  std::string path_of(NodeId node) const;

  /// What `path` names, by any of the paths that lead there.
  std::optional<Place> find(std::string_view path) const;

  /// The slots one of whose paths `glob` matches, in walk order. `*` crosses dots, `?` is one character, `[abc]` one
  /// of a set; a slot with many paths is matched by any of them, in time linear in slots times pattern.
  std::vector<SlotId> match(std::string_view glob) const;

  /// The existing paths nearest to `path` by edit distance, at most `count`, nearest first.
  std::vector<std::string> nearest(std::string_view path, std::size_t count = 3) const;

 private:
  const Graph& graph_;
  std::vector<SlotId> order_;
  std::vector<SlotId> through_;  // by NodeId: the slot by which the first path reaches it
};

/// Whether a selector's text is a glob rather than a path.
bool is_glob(std::string_view text);

}  // namespace ramet::core
