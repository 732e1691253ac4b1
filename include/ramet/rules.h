/// What a user asks for: modes, and the selectors that name where each applies.
///
/// A front turns objects, types and predicates into selections by itself, and paths, globs and kinds by the functions
/// here. A Selection refers to one graph. Nothing is decided here: see plan.h.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>
#include <ramet/paths.h>

#include <functional>
#include <optional>

namespace ramet::core {

/// What a tensor slot of the clone gets. The words are those of docs/concepts.md.
enum class Mode : uint8_t { copy, share, alias, lazy, differentiable, init, meta };

/// Whether what is written to the clone's tensor never shows in the source's, and both have values.
inline bool has_own_values(Mode mode) {
  return mode == Mode::copy || mode == Mode::lazy || mode == Mode::differentiable || mode == Mode::init;
}

/// "copy", "share", ...
std::string_view to_string(Mode mode);

/// How narrow a selector is; the narrower one wins. A glob, or a predicate, ranks as a module does.
enum class Rank : uint8_t { all, kind, type, module, tensor };

/// What one selector names in one graph.
struct Selection {
  Rank rank = Rank::all;
  SlotKind kind = SlotKind::parameter;  ///< For Rank::kind: parameter or buffer.
  std::string text;                     ///< As the user would write it: `'encoder.*'`, `nn.LayerNorm`.
  std::vector<NodeId> under;            ///< Modules: every tensor beneath them is named.
  std::vector<SlotId> slots;            ///< Slots named one by one.
};

/// A mode and one selector; a list of selectors makes as many rules.
struct Rule {
  Mode mode = Mode::copy;
  Selection where;
};

struct Rules {
  std::vector<Rule> modes;
  std::vector<Selection> keep;       ///< What the front's walk held already (Fate::held); here for reasons and errors.
  std::vector<Selection> freeze;     ///< Tensors of the clone's own that shall not require grad.
  bool grads = false;                ///< Copies have copies of the gradients too.
  std::optional<at::Device> device;  ///< Where registered tensors of the clone's own go, ...
  std::optional<at::ScalarType> dtype;  ///< ... and what they become, if they are floating or complex.
  bool initializer = false;             ///< The user gives one for init, which suits every module; else there are ...
  std::vector<NodeId> resets;           ///< ... those that modules have of their own.
};

/// `True`: every parameter and buffer.
Selection select_all(std::string text);

/// All parameters, or all buffers: what is registered as such.
Selection select_kind(SlotKind kind, std::string text);

/// What a path or a glob names; a name that has a glob's characters is found as it is. `quoted` is how errors show it.
///
/// Throws PlanError if it matches nothing (with the nearest names), or names plain state, which only keep can.
Selection select_path(const Graph& graph, const Paths& paths, std::string_view text, std::string quoted);

/// Throws PlanError: a mode names plain state, which only keep can.
[[noreturn]] void refuse_plain_state(const std::string& quoted);

/// The tensor slots for which `named` holds, asked with each one's first path. Throws PlanError if there is none.
Selection select_if(const Graph& graph, const Paths& paths,
                    const std::function<bool(std::string_view path, NodeId tensor)>& named, std::string text);

/// One module, one tensor (by all of its slots) or one member of a session, by its node. Throws PlanError for plain
/// state.
Selection select_node(const Graph& graph, NodeId node, std::string text);

/// All modules of a type, as found by the front. Throws PlanError if there is none.
Selection select_type(std::vector<NodeId> modules, std::string text);

}  // namespace ramet::core
