/// Which slots refer to given nodes, and which of them stay in step with which. Private to the core.
#pragma once

#include <ramet/changes.h>

#include <map>

namespace ramet::core {

/// By NodeId of what is to be replaced: the index of what takes its place.
using Replacements = std::map<NodeId, uint32_t>;

/// The slots to set so that nothing refers to the keys of `now` any more, in order of slots: an immutable object that
/// has one in it is replaced where it is held.
std::vector<Change> references(const Graph& graph, const Objects& objects, const Replacements& now);

/// A plain reference, and the registered slot that it stays in step with.
struct Follower {
  Change change;
  SlotId leader = none;
};

/// The plain ones of `references` that a module holds beside a registered slot for the same object: each follows the
/// first such slot of the first such module.
std::vector<Follower> followers(const Graph& graph, const std::vector<Change>& references);

/// Drops the changes in what only the replaced objects hold: that is no longer part of the model.
void drop_unreached(const Graph& graph, const Replacements& now, std::vector<Change>& changes);

/// By NodeId: whether registered slots lead there from the root.
std::vector<bool> registered_nodes(const Graph& graph);

}  // namespace ramet::core
