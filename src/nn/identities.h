/// Finds the node of an object. A table of node numbers alone: one for each address would not stay in the cache.
#pragma once

#include <ramet/graph.h>

#include <utility>

namespace ramet::nn {

class Identities {
 public:
  explicit Identities(const core::Graph& graph) : graph_(graph), nodes_(1024, core::none) {}

  /// The node that was added for `object`; `none` if there is none.
  core::NodeId find(const void* object) const { return nodes_[place_of(object)]; }

  /// The node of `object`, and whether it is yet to be made: then it is the next of the graph.
  std::pair<core::NodeId, bool> find_or_next(const void* object) {
    if (2 * (count_ + 1) > nodes_.size()) grow();
    core::NodeId& node = nodes_[place_of(object)];
    if (node != core::none) return {node, false};
    ++count_;
    return {node = static_cast<core::NodeId>(graph_.nodes.size()), true};
  }

 private:
  // Where an object's node is, or would be put. By Fibonacci hashing: addresses differ in their middle bits.
  std::size_t place_of(const void* object) const {
    const std::size_t mask = nodes_.size() - 1;
    std::size_t place = (reinterpret_cast<std::uintptr_t>(object) * 0x9E3779B97F4A7C15u >> 32) & mask;
    while (nodes_[place] != core::none && graph_.nodes[nodes_[place]].object != object) place = (place + 1) & mask;
    return place;
  }

  void grow() {
    const std::vector<core::NodeId> before = std::exchange(nodes_, std::vector(4 * nodes_.size(), core::none));
    for (const core::NodeId node : before) {
      if (node != core::none) nodes_[place_of(graph_.nodes[node].object)] = node;
    }
  }

  const core::Graph& graph_;
  std::vector<core::NodeId> nodes_;
  std::size_t count_ = 0;
};

}  // namespace ramet::nn
