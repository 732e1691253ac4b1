/// Walks, lets the core decide, and places. Copies for untie are clones like any other, each in a session of its own.
#include "python/inplace.h"

#include <ramet/changes.h>
#include <ramet/materialize.h>
#include <torch/csrc/autograd/python_variable.h>

#include "python/placing.h"
#include "python/rebuild.h"
#include "python/steal.h"

namespace ramet::python {
namespace {

using core::NodeId;

Walk walk_in_place(py::handle model) {
  WalkOptions options;
  options.in_place = true;
  return walk(model, options);
}

class WalkedObjects final : public core::Objects {
 public:
  explicit WalkedObjects(const Walk& walk) : walk_(walk), parameter_(torch_class("torch.nn", "Parameter")) {}

  bool same_type(NodeId a, NodeId b) const override { return type(a) == type(b); }
  std::string type_name(NodeId module) const override { return type(module)->tp_name; }
  bool is_parameter(NodeId tensor) const override { return py::isinstance(walk_.items[tensor].object, parameter_); }
  bool is_immutable(NodeId object) const override {
    const Shape shape = walk_.items[object].shape;
    return shape == Shape::tuple || shape == Shape::method || shape == Shape::weak;
  }

 private:
  PyTypeObject* type(NodeId node) const { return Py_TYPE(walk_.items[node].object.ptr()); }

  const Walk& walk_;
  const py::object parameter_;
};

/// A clone that refers to what is not beneath `module` as `module` does, and is tied to nothing.
py::object clone_of(const py::object& module) {
  WalkOptions options;
  options.drafts = true;
  Walk walked = walk(module, options);
  core::set_apart(walked.graph);
  core::Catalog catalog;
  catalog.groups = core::groups(walked.graph);
  const core::Plan plan = core::plan(walked.graph, catalog, {});
  return rebuild(walked, core::materialize(walked.graph, plan, 1)[0], true);
}

py::object copy_of(const Walk& walked, NodeId node) {
  const py::object& object = walked.items[node].object;
  if (walked.graph.nodes[node].kind == core::NodeKind::module) return clone_of(object);
  const at::Tensor& tensor = walked.graph.tensors[walked.graph.nodes[node].tensor].value;
  // One step of a differentiable chain stays one.
  if (!tensor.is_leaf()) return object.attr("clone")();
  const py::object holder = torch_class("torch.nn", "Module")();
  holder.attr("_buffers")["0"] = object;
  return clone_of(holder).attr("_buffers")["0"];
}

void put_copies(const Walk& walked, const core::Changes& changes, bool all) {
  std::vector<py::object> copies;
  for (const NodeId source : changes.sources) {
    copies.push_back(copy_of(walked, source));
    const bool module = walked.graph.nodes[source].kind == core::NodeKind::module;
    if (all && module) untie_all(copies.back());
  }
  Placing("untie", walked, changes, copies).run();
}

}  // namespace

void tie(py::handle model, const std::vector<std::string>& paths) {
  const Walk walked = walk_in_place(model);
  const core::Changes changes = core::tie(walked.graph, WalkedObjects(walked), paths);
  Placing("tie", walked, changes, {walked.items[changes.sources[0]].object}).run();
}

void untie(py::handle model, const std::vector<std::string>& paths) {
  const Walk walked = walk_in_place(model);
  put_copies(walked, core::untie(walked.graph, WalkedObjects(walked), paths), false);
}

void untie_all(py::handle model) {
  const Walk walked = walk_in_place(model);
  put_copies(walked, core::untie_all(walked.graph, WalkedObjects(walked)), true);
}

void assign(py::handle model, const py::object& paths, const py::list& tensors) {
  const Walk walked = walk_in_place(model);
  const WalkedObjects objects(walked);
  const py::object parameter = torch_class("torch.nn", "Parameter");
  std::vector<core::Given> given;
  for (const py::handle tensor : tensors) {
    given.push_back({THPVariable_Unpack(tensor.ptr()), py::isinstance(tensor, parameter)});
  }
  const core::Changes changes =
      paths.is_none() ? core::assign(walked.graph, objects, given)
                      : core::assign(walked.graph, objects, paths.cast<std::vector<std::string>>(), given);
  std::vector<py::object> values;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const py::handle tensor = tensors[i];
    if (given[i].value.is_same(THPVariable_Unpack(tensor.ptr()))) {
      values.push_back(py::reinterpret_borrow<py::object>(tensor));
    } else {
      values.push_back(steal(THPVariable_Wrap(given[i].value, reinterpret_cast<PyTypeObject*>(parameter.ptr()))));
    }
  }
  Placing("assign", walked, changes, values).run();
}

}  // namespace ramet::python
