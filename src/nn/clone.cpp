/// The pipeline for torch::nn: walk, rules, plan, materialize, rebuild.
#include <ATen/ops/empty.h>
#include <ramet/clone.h>
#include <ramet/errors.h>
#include <ramet/materialize.h>
#include <ramet/untie.h>

#include <algorithm>

#include "nn/forgotten.h"
#include "nn/initialise.h"
#include "nn/optimizers.h"
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
    std::string operator()(bool everything) const { return everything ? "true" : "false"; }
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
  Selection operator()(const std::string& path) {
    Selection result = core::select_path(graph_, paths(), path, quoted(path));
    const auto is_optimizer = [&](NodeId node) { return walk_.items[node].optimizer != nullptr; };
    if (std::any_of(result.under.begin(), result.under.end(), is_optimizer)) core::refuse_plain_state(result.text);
    return result;
  }
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
  for (const NodeId original : core::untie(walk.graph, where)) walk.items.emplace_back(walk.items[original]);
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
    rules.initializer = options.initializer() != nullptr;
    if (!rules.initializer) find_resets();
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
    for (NodeId node = 0; node < walk.items.size(); ++node) {
      if (walk.items[node].optimizer == nullptr || walk.graph.nodes[node].fate != core::Fate::held) continue;
      throw PlanError("clone: slot '" + core::Paths(walk.graph).path_of(node) +
                      "': keep names an optimizer, which the clone would then have no way to hold; leave it out of the "
                      "session");
    }
  }

  void find_resets() {
    const auto is_init = [](const core::Rule& rule) { return rule.mode == core::Mode::init; };
    if (std::none_of(rules.modes.begin(), rules.modes.end(), is_init)) return;
    for (NodeId node = 0; node < walk.items.size(); ++node) {
      const detail::ModuleType* type = walk.items[node].type;
      if (type != nullptr && type->initialise != nullptr) rules.resets.push_back(node);
    }
  }

  void check_dtype() const {
    if (!rules.dtype || at::isFloatingType(*rules.dtype) || at::isComplexType(*rules.dtype)) return;
    throw PlanError("clone: dtype=" + std::string(c10::toString(*rules.dtype)) +
                    " is neither floating nor complex, which is what parameters can become");
  }
};

void check(const detail::Source& source) {
  if (!nn::is_empty(source)) return;
  throw PlanError("clone: the source is empty: an empty holder, a null pointer or a session without members");
}

/// Collects what became of the source's members, depth first: kept modules are the source's own.
class Collector {
 public:
  Collector(const nn::Walk& walk, const std::vector<at::Tensor>& tensors)
      : walk_(walk), graph_(walk.graph), tensors_(tensors), modules_(nn::rebuild(walk, tensors)) {}

  std::vector<detail::Made> run(const detail::Source& source) {
    collect(source, 0);
    return std::move(made_);
  }

 private:
  void collect(const detail::Source& source, NodeId node) {
    if (source.kind == detail::Source::Kind::session) {
      const auto slots = graph_.slots_of(node);
      for (std::size_t i = 0; i < source.members.size(); ++i) collect(source.members[i], slots[i].target);
      return;
    }
    detail::Made& made = made_.emplace_back();
    if (node == none) return;
    if (source.module != nullptr) made.module = module(node);
    if (source.tensor.defined()) made.tensor = tensors_[graph_.nodes[node].tensor];
    if (source.optimizer != nullptr) made.optimizer = optimizer(node);
  }

  detail::ModulePtr module(NodeId node) const {
    if (modules_[node]) return modules_[node];
    const detail::ModulePtr kept = walk_.items[node].module->weak_from_this().lock();
    if (kept) return kept;
    throw PlanError("clone: keep names the source itself, which no shared_ptr owns: the clone cannot hold it");
  }

  // Over the clone's tensors, which stand in the walk's slots in the order of the source's parts.
  detail::OptimizerPtr optimizer(NodeId node) {
    detail::OptimizerPtr& made = optimizers_[node];
    if (made) return made;
    nn::OptimizerParts parts;
    for (const core::Slot& group : graph_.slots_of(child(node, 0))) {
      auto& tensors = parts.groups.emplace_back();
      for (const core::Slot& slot : graph_.slots_of(child(group.target, 0))) tensors.push_back(tensor(slot));
    }
    for (const core::Slot& state : graph_.slots_of(child(node, 1))) {
      auto& tensors = parts.state.emplace_back().second;
      for (const core::Slot& slot : graph_.slots_of(state.target)) tensors.emplace_back(std::string(), tensor(slot));
    }
    return made = nn::make_optimizer(*walk_.items[node].optimizer, parts);
  }

  NodeId child(NodeId node, std::size_t index) const { return graph_.slots_of(node)[index].target; }
  const at::Tensor& tensor(const core::Slot& slot) const { return tensors_[graph_.nodes[slot.target].tensor]; }

  const nn::Walk& walk_;
  const core::Graph& graph_;
  const std::vector<at::Tensor>& tensors_;
  const std::vector<detail::ModulePtr> modules_;
  std::map<NodeId, detail::OptimizerPtr> optimizers_;
  std::vector<detail::Made> made_;
};

}  // namespace

std::vector<std::vector<detail::Made>> detail::clone(const Source& source, std::size_t n, const CloneOptions& options) {
  check(source);
  const Planned planned(source, options);
  std::optional<nn::Forgotten> forgotten;
  if (options.check()) forgotten.emplace(planned.walk, planned.plan);
  std::vector<std::vector<Made>> result;
  const auto clones = core::materialize(planned.walk.graph, planned.plan, n);
  for (const std::vector<at::Tensor>& tensors : clones) {
    if (!planned.plan.init.empty()) nn::initialise(planned.walk, planned.plan, options.initializer(), tensors);
    result.push_back(Collector(planned.walk, tensors).run(source));
  }
  if (forgotten && n > 0) forgotten->check(clones[0]);
  return result;
}

Catalog detail::catalog(const Source& source) {
  check(source);
  return Catalog(nn::walk(source).graph);
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
