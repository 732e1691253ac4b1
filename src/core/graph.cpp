/// What lies beneath a module of a Graph. Everything else about graphs is in the header.
#include <ramet/graph.h>

#include "core/beneath.h"

namespace ramet::core {

void walk_beneath(const Graph& graph, NodeId module, const std::function<bool(NodeId)>& enter) {
  Beneath(graph).walk(module, enter);
}

}  // namespace ramet::core
