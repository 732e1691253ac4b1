/// Takes ties apart, before anything is planned: a slot that is untied gets a tensor, or a module, of its own.
///
/// Input: a Graph and selections of tied slots. Output: the graph rewritten, and which node each added one stands for.
/// The source is not touched: what is added stands for the same tensor or module a second time.
#pragma once

#include <ramet/rules.h>

namespace ramet::core {

/// What `untie` may name: a tensor's slot or a module's, by the very path given, or the tied slots that a glob matches.
///
/// Throws PlanError if the path names nothing, nothing tied, or plain state; and for a tensor that has its second path
/// through a module with two names, with the module's path to be untied instead.
Selection select_tied(const Graph& graph, const Paths& paths, std::string_view text, std::string quoted);

/// Every slot of every tie but each one's first.
Selection select_all_tied(const Graph& graph, std::string text);

/// Gives each slot selected a node of its own: a tensor of another part, or a module with all beneath it, so that the
/// clone has a tensor (a module) there which is tied to nothing else. What a module refers to by plain state (an RNN's
/// flat weights) follows its slot.
///
/// Returns, for every node appended to `graph`, the one that it stands for. Throws PlanError for a slot beneath what is
/// kept.
std::vector<NodeId> untie(Graph& graph, const std::vector<Selection>& where);

}  // namespace ramet::core
