/// Walks, lets the core decide, and rebinds. Copies for untie are clones like any other, each in a session of its own.
#include <ramet/errors.h>
#include <ramet/inplace.h>
#include <ramet/materialize.h>

#include "nn/access.h"
#include "nn/rebind.h"
#include "nn/rebuild.h"

namespace ramet {
namespace {

using core::NodeId;

nn::Walk walk_in_place(const std::string& verb, const detail::Source& model) {
  if (nn::is_empty(model))
    throw PlanError(verb + ": the model is empty: an empty holder, a null pointer or a session without members");
  return nn::walk(model);
}

class WalkedObjects final : public core::Objects {
 public:
  explicit WalkedObjects(const nn::Walk& walk) : walk_(walk) {}

  bool same_type(NodeId a, NodeId b) const override { return type(a) == type(b); }
  std::string type_name(NodeId module) const override { return c10::demangle(type(module).name()); }
  bool is_parameter(NodeId) const override { return false; }
  bool is_immutable(NodeId) const override { return false; }

 private:
  const std::type_info& type(NodeId node) const {
    const torch::nn::Module& module = *walk_.items[node].module;
    return typeid(module);
  }

  const nn::Walk& walk_;
};

/// A clone that refers to what is not beneath `module` as `module` does, and is tied to nothing.
detail::ModulePtr clone_of(const torch::nn::Module& module) {
  nn::Walk walk = nn::walk(detail::source_of_module(&module));
  core::set_apart(walk.graph);
  core::Catalog catalog;
  catalog.groups = core::groups(walk.graph);
  const core::Plan plan = core::plan(walk.graph, catalog, {});
  return nn::rebuild(walk, core::materialize(walk.graph, plan, 1)[0])[0];
}

nn::Value value_of(const nn::Walk& walk, NodeId node) {
  if (torch::nn::Module* module = walk.items[node].module) return {{}, module->weak_from_this().lock()};
  return {walk.graph.tensors[walk.graph.nodes[node].tensor].value, {}};
}

nn::Value copy_of(const nn::Walk& walk, NodeId node) {
  const auto [tensor, module] = value_of(walk, node);
  if (module) return {{}, clone_of(*module)};
  // One step of a differentiable chain stays one.
  if (!tensor.is_leaf()) return {tensor.clone(), {}};
  torch::nn::Module holder;
  detail::Dictionaries::buffers(holder).insert("0", tensor);
  return {detail::Dictionaries::buffers(*clone_of(holder))["0"], {}};
}

void put_copies(const nn::Walk& walk, const core::Changes& changes, bool all) {
  std::vector<nn::Value> copies;
  for (const NodeId source : changes.sources) {
    copies.push_back(copy_of(walk, source));
    if (all && copies.back().module) {
      detail::untie_all(detail::source_of_module(copies.back().module.get()));
    }
  }
  nn::rebind(walk, changes, copies);
}

void put_given(const nn::Walk& walk, const core::Changes& changes, const std::vector<core::Given>& given) {
  std::vector<nn::Value> values;
  for (const core::Given& it : given) values.push_back({it.value, {}});
  nn::rebind(walk, changes, values);
}

}  // namespace

void detail::tie(const Source& model, const std::vector<std::string>& paths) {
  const nn::Walk walk = walk_in_place("tie", model);
  const core::Changes changes = core::tie(walk.graph, WalkedObjects(walk), paths);
  nn::rebind(walk, changes, {value_of(walk, changes.sources[0])});
}

void detail::untie(const Source& model, const std::vector<std::string>& paths) {
  const nn::Walk walk = walk_in_place("untie", model);
  put_copies(walk, core::untie(walk.graph, WalkedObjects(walk), paths), false);
}

void detail::untie_all(const Source& model) {
  const nn::Walk walk = walk_in_place("untie", model);
  put_copies(walk, core::untie_all(walk.graph, WalkedObjects(walk)), true);
}

void detail::assign(const Source& model, const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  const nn::Walk walk = walk_in_place("assign", model);
  std::vector<std::string> paths;
  std::vector<core::Given> given;
  for (const auto& [path, tensor] : tensors) {
    paths.push_back(path);
    given.push_back({tensor});
  }
  const core::Changes changes = core::assign(walk.graph, WalkedObjects(walk), paths, given);
  put_given(walk, changes, given);
}

void detail::assign(const Source& model, const std::vector<at::Tensor>& tensors) {
  const nn::Walk walk = walk_in_place("assign", model);
  std::vector<core::Given> given;
  for (const at::Tensor& tensor : tensors) given.push_back({tensor});
  const core::Changes changes = core::assign(walk.graph, WalkedObjects(walk), given);
  put_given(walk, changes, given);
}

}  // namespace ramet
