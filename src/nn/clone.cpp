/// The pipeline for torch::nn: walk, rules, plan, materialize, rebuild.
#include <ATen/ops/empty.h>
#include <ramet/clone.h>
#include <ramet/errors.h>
#include <ramet/materialize.h>
#include <ramet/untie.h>

#include "nn/rebuild.h"

namespace ramet {
namespace {

using core::NodeId;
using core::NodeKind;
using core::none;
using core::Selection;

std::string quoted(const std::string& path) { return "\"" + path + "\""; }

std::string text_of(const Selector& selector) {
  struct Text {
    std::string operator()(bool) const { return "true"; }
    std::string operator()(const Kind& kind) const { return kind.text; }
    std::string operator()(const TypeSelector& type) const { return type.text; }
    std::string operator()(const std::string& path) const { return quoted(path); }
    std::string operator()(const Selector::Object& object) const { return object.text; }
    std::string operator()(const Predicate&) const { return "<a predicate>"; }
  };
  return std::visit(Text(), selector.value());
}

/// Several if untie made it stand for itself several times.
std::vector<NodeId> nodes_of(const core::Graph& graph, const Selector::Object& object) {
  std::vector<NodeId> result;
  for (NodeId node = 0; node < graph.nodes.size(); ++node) {
    if (graph.nodes[node].object == object.identity) result.push_back(node);
  }
  if (result.empty()) {
    throw PlanError("clone: " + object.text + " matches nothing: the source does not hold that object");
  }
  return result;
}

/// Turns selectors into selections of one walk.
class Resolver {
 public:
  explicit Resolver(const nn::Walk& walk) : walk_(walk), graph_(walk.graph) {}

  Selection operator()(bool everything) const {
    if (!everything) throw PlanError("clone: false is no selector; leave the rule out");
    return core::select_all("true");
  }
  Selection operator()(const Kind& kind) const { return core::select_kind(kind.kind, kind.text); }
  Selection operator()(const TypeSelector& type) const {
    std::vector<NodeId> modules;
    for (NodeId node = 0; node < walk_.items.size(); ++node) {
      const torch::nn::Module* module = walk_.items[node].module;
      if (module != nullptr && type.matches(*module)) modules.push_back(node);
    }
    return core::select_type(std::move(modules), type.text);
  }
  Selection operator()(const std::string& path) { return core::select_path(graph_, paths(), path, quoted(path)); }
  Selection operator()(const Selector::Object& object) const {
    const std::vector<NodeId> nodes = nodes_of(graph_, object);
    Selection result = core::select_node(graph_, nodes[0], object.text);
    for (std::size_t i = 1; i < nodes.size(); ++i) {
      const Selection other = core::select_node(graph_, nodes[i], object.text);
      result.under.insert(result.under.end(), other.under.begin(), other.under.end());
      result.slots.insert(result.slots.end(), other.slots.begin(), other.slots.end());
    }
    return result;
  }
  Selection operator()(const Predicate& predicate) {
    const auto named = [&](std::string_view path, NodeId node) {
      return predicate(path, graph_.tensors[graph_.nodes[node].tensor].value);
    };
    return core::select_if(graph_, paths(), named, "<a predicate>");
  }

  const core::Paths& paths() {
    if (!paths_) paths_.emplace(graph_);
    return *paths_;
  }

 private:
  const nn::Walk& walk_;
  const core::Graph& graph_;
  std::optional<core::Paths> paths_;
};

/// The nodes that a keep names.
Selection kept(const nn::Walk& walk, Resolver& resolver, const Selector& selector) {
  Selection result{core::Rank::module, core::SlotKind::parameter, text_of(selector), {}, {}};
  if (const auto* object = std::get_if<Selector::Object>(&selector.value())) {
    result.under = nodes_of(walk.graph, *object);
    return result;
  }
  const auto* path = std::get_if<std::string>(&selector.value());
  if (path == nullptr) {
    throw PlanError("clone: keep=" + result.text +
                    " is no selector for keep, which names slots: give a path, a glob or an object");
  }
  if (const auto place = resolver.paths().find(*path)) {
    if (place->node != none) result.under = {place->node};
    return result;
  }
  if (core::is_glob(*path)) result.slots = resolver.paths().match(*path);
  if (!result.slots.empty()) return result;
  std::string message = "clone: keep=" + result.text +
                        " matches nothing (a plain value is the clone's own, and has no path); the nearest names are ";
  const std::vector<std::string> nearest = resolver.paths().nearest(*path);
  for (std::size_t i = 0; i < nearest.size(); ++i) message += (i == 0 ? "'" : ", '") + nearest[i] + "'";
  throw PlanError(message);
}

/// Unties what the selectors name: nodes are added to the walk.
void untie(nn::Walk& walk, const std::vector<Selector>& selectors) {
  if (selectors.empty()) return;
  const core::Paths paths(walk.graph);
  std::vector<Selection> where;
  for (const Selector& selector : selectors) {
    const std::string text = text_of(selector);
    const bool* everything = std::get_if<bool>(&selector.value());
    if (everything != nullptr && *everything) {
      where.push_back(core::select_all_tied(walk.graph, text));
    } else if (const auto* path = std::get_if<std::string>(&selector.value())) {
      where.push_back(core::select_tied(walk.graph, paths, *path, text));
    } else {
      throw PlanError("clone: untie=" + text +
                      " is no selector for untie, which names slots: give true, a path or a glob");
    }
  }
  for (const NodeId original : core::untie(walk.graph, where)) walk.items.push_back(nn::Item(walk.items[original]));
}

struct Planned {
  Planned(const detail::Source& source, const CloneOptions& options) : walk(nn::walk(source, options.within())) {
    hold(options.keeps());
    untie(walk, options.unties());
    Resolver resolver(walk);
    for (const auto& [mode, selector] : options.modes()) {
      rules.modes.push_back({mode, std::visit(resolver, selector.value())});
    }
    for (const Selector& selector : options.freezes()) rules.freeze.push_back(std::visit(resolver, selector.value()));
    rules.grads = options.grads();
    rules.device = options.device();
    rules.dtype = options.dtype();
    check_dtype();
    if (rules.device) at::empty({0}, at::TensorOptions().device(*rules.device));  // throws, and now, if it is not there
    core::Catalog catalog;
    catalog.groups = core::groups(walk.graph);
    plan = core::plan(walk.graph, catalog, rules);
  }

  nn::Walk walk;
  core::Rules rules;
  core::Plan plan;

 private:
  void hold(const std::vector<Selector>& keeps) {
    Resolver resolver(walk);
    for (const Selector& selector : keeps) {
      rules.keep.push_back(kept(walk, resolver, selector));
      for (const NodeId node : rules.keep.back().under) nn::hold(walk.graph, node);
      for (const core::SlotId slot : rules.keep.back().slots) {
        if (walk.graph.slots[slot].target != none) nn::hold(walk.graph, walk.graph.slots[slot].target);
      }
    }
    if (!rules.keep.empty()) nn::hold_unreached(walk.graph);
  }

  void check_dtype() const {
    if (!rules.dtype || at::isFloatingType(*rules.dtype) || at::isComplexType(*rules.dtype)) return;
    throw PlanError("clone: dtype=" + std::string(c10::toString(*rules.dtype)) +
                    " is neither floating nor complex, which is what parameters can become");
  }
};

void check(const detail::Source& source) {
  if (source.modules.empty() || (!source.session && source.modules[0] == nullptr)) {
    throw PlanError("clone: the source is empty: an empty holder, a null pointer or a session without members");
  }
}

/// The clone of a session's member, or of the single module: kept ones are the source's own.
detail::ModulePtr member(const nn::Walk& walk, const std::vector<detail::ModulePtr>& modules, NodeId node) {
  if (node == none) return nullptr;
  if (modules[node]) return modules[node];
  const detail::ModulePtr kept = walk.items[node].module->weak_from_this().lock();
  if (kept) return kept;
  throw PlanError("clone: keep names the source itself, which no shared_ptr owns: the clone cannot hold it");
}

}  // namespace

std::vector<std::vector<detail::ModulePtr>> detail::clone(const Source& source, std::size_t n,
                                                          const CloneOptions& options) {
  check(source);
  const Planned planned(source, options);
  std::vector<std::vector<ModulePtr>> result;
  for (const std::vector<at::Tensor>& tensors : core::materialize(planned.walk.graph, planned.plan, n)) {
    const std::vector<ModulePtr> modules = nn::rebuild(planned.walk, tensors);
    std::vector<ModulePtr>& made = result.emplace_back();
    if (!source.session) {
      made.push_back(member(planned.walk, modules, 0));
      continue;
    }
    for (const core::Slot& slot : planned.walk.graph.slots_of(0)) {
      made.push_back(member(planned.walk, modules, slot.target));
    }
  }
  return result;
}

Catalog detail::catalog(const Source& source) {
  check(source);
  const nn::Walk walk = nn::walk(source);
  return Catalog(walk.graph, core::catalog(walk.graph));
}

Plan detail::plan(const Source& source, const CloneOptions& options) {
  check(source);
  const Planned planned(source, options);
  return Plan(planned.walk.graph, planned.rules, planned.plan);
}

Relation detail::relation(const Source& a, const Source& b) {
  check(a);
  check(b);
  return Relation(nn::walk(a).graph, nn::walk(b).graph);
}

}  // namespace ramet
