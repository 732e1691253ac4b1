/// The scratch clone has nothing of the source's: also what rules share or keep is copied there.
#include "python/initialise.h"

#include <ramet/errors.h>
#include <ramet/init.h>
#include <ramet/materialize.h>
#include <torch/csrc/autograd/python_variable.h>

#include "python/rebuild.h"
#include "python/steal.h"

namespace ramet::python {
namespace {

using core::NodeId;
using core::none;

/// By this mark transformers' initialisers know what was loaded, and leave it alone.
void forget_loaded(Item& item) {
  constexpr const char* mark = "_is_hf_initialized";
  if (item.shape != Shape::tensor || !item.extra || PyDict_GetItemString(item.extra.ptr(), mark) != Py_True) return;
  item.extra = steal(PyDict_Copy(item.extra.ptr()));
  if (PyDict_DelItemString(item.extra.ptr(), mark) != 0) throw py::error_already_set();
}

/// Kept plain objects, and what lies outside of the source, stay what they are.
Walk scratch_walk(const Walk& walk) {
  Walk result = walk;
  result.memo = py::object();
  for (NodeId node = 0; node < result.items.size(); ++node) {
    forget_loaded(result.items[node]);
    core::Node& it = result.graph.nodes[node];
    Shape& shape = result.items[node].shape;
    const bool module = it.kind == core::NodeKind::module && shape != Shape::atomic;
    const bool container = it.count > 0 && shape >= Shape::list && shape <= Shape::set;
    if (it.fate != core::Fate::held || !(it.tensor != none || module || container)) continue;
    it.fate = core::Fate::cloned;
    // What was kept was not taken apart.
    if (module && shape == Shape::reduced) shape = Shape::leaf;
  }
  return result;
}

/// An initialiser may have put another tensor in a slot.
void take_slots(const Walk& walk, const core::Plan& plan, NodeId node, const py::object& module,
                const std::vector<at::Tensor>& made) {
  if (walk.items[node].shape == Shape::scripted) return;
  for (const core::Slot& slot : walk.graph.slots_of(node)) {
    const bool tensor = slot.kind == core::SlotKind::parameter || slot.kind == core::SlotKind::buffer;
    if (!tensor || slot.target == none) continue;
    const py::dict held = module.attr(dict_name(slot.kind));
    const std::string_view name = walk.graph.name(static_cast<core::SlotId>(&slot - walk.graph.slots.data()));
    const py::str key(name.data(), name.size());
    if (!held.contains(key) || !THPVariable_Check(py::object(held[key]).ptr())) continue;
    const at::Tensor& now = THPVariable_Unpack(py::object(held[key]).ptr());
    core::take_fresh(walk.graph, plan, walk.graph.nodes[slot.target].tensor, now, made);
  }
}

/// Whether a method can be called without any; what is no Python function is trusted to.
bool needs_no_arguments(const py::object& method) {
  PyObject* function = PyMethod_Check(method.ptr()) ? PyMethod_GET_FUNCTION(method.ptr()) : nullptr;
  if (function == nullptr || !PyFunction_Check(function)) return true;
  const auto* code = reinterpret_cast<const PyCodeObject*>(PyFunction_GetCode(function));
  const auto given = [](PyObject* defaults) { return defaults == nullptr ? 0 : PyObject_Size(defaults); };
  return code->co_argcount <= 1 + given(PyFunction_GetDefaults(function)) &&
         code->co_kwonlyargcount <= given(PyFunction_GetKwDefaults(function));
}

}  // namespace

// What a class's __getattr__ answers, and what was put in the instance, may be another module's: it would write that.
py::object initialiser_of(const py::object& module) {
  for (const char* name : {"reset_parameters", "_reset_parameters"}) {
    py::object found = py::getattr(module, name, py::none());
    const bool own = PyMethod_Check(found.ptr())
                         ? PyMethod_GET_SELF(found.ptr()) == module.ptr()
                         : py::hasattr(py::type::of(module), name) && !module.attr("__dict__").contains(name);
    if (own && PyCallable_Check(found.ptr()) != 0 && needs_no_arguments(found)) return found;
  }
  return py::none();
}

void initialise(const Walk& walk, const core::Plan& plan, const py::object& initializer,
                const std::vector<at::Tensor>& clone) {
  Walk scratch = scratch_walk(walk);
  std::vector<at::Tensor> made;
  {
    const py::gil_scoped_release release;
    made = core::materialize(scratch.graph, core::plan_scratch(scratch.graph, plan), 1)[0];
  }
  const std::vector<py::object> modules = rebuild_modules(scratch, made, plan.init);
  for (std::size_t i = 0; i < modules.size(); ++i) {
    if (!modules[i].is(walk.items[plan.init[i]].object)) continue;
    throw PlanError("clone: slot '" + core::Paths(walk.graph).path_of(plan.init[i]) +
                    "': its __deepcopy__ gives the source's own module, which init would change; leave it out of init");
  }
  for (const py::object& module : modules) {
    if (initializer.is_none()) {
      initialiser_of(module)();
    } else {
      initializer(module);
    }
  }
  for (std::size_t i = 0; i < modules.size(); ++i) take_slots(scratch, plan, plan.init[i], modules[i], made);
  core::put_fresh(walk.graph, plan, made, clone);
}

}  // namespace ramet::python
