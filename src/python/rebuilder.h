/// One clone in the making: modules and tensors in rebuild.cpp, plain state in rebuild_state.cpp, what clones itself in
/// rebuild_leaves.cpp.
#pragma once

#include <optional>

#include "python/flat.h"
#include "python/memo.h"
#include "python/rebuild.h"

namespace ramet::python {

inline void set_dict(const py::object& object, const py::object& dict) {
  if (PyObject_GenericSetDict(object.ptr(), dict.ptr(), nullptr) != 0) throw py::error_already_set();
}

class Rebuilder {
 public:
  Rebuilder(Walk& walk, const std::vector<at::Tensor>& tensors, bool last)
      : walk_(walk),
        types_(walk.types),
        tensors_(tensors),
        takes_drafts_(last && walk.first_twin == core::none),
        made_(walk.items.size()) {}

  py::object run();
  const py::object& value_of(core::NodeId node);

 private:
  /// The slots of a node, consumed in the walk's order.
  struct Cursor {
    core::SlotId next, end;
  };
  struct Pending {
    py::object dict, key;
    core::NodeId target;
  };
  /// A module whose __setstate__ is still to run, with this state; it waits while values in it are pending.
  struct Unset {
    core::NodeId node;
    py::object state;
    bool waits;
  };

  /// Whether it can be made without user code, so that it stands before any runs: tensors, modules, and containers of
  /// these (an RNN's flat weights, a list of peers).
  bool is_ready(core::NodeId node, int depth = 0) const;
  bool hashes_itself(core::NodeId node) const;
  bool is_shell(core::NodeId node) const {
    return walk_.items[node].shape == Shape::module && walk_.graph.nodes[node].fate == core::Fate::cloned;
  }
  Cursor cursor(core::NodeId node) const {
    const core::Node& it = walk_.graph.nodes[node];
    return {it.first, it.first + it.count};
  }

  void check_source() const;
  void check_registered(core::NodeId node, core::SlotKind kind, PyObject* container) const;
  void fetch_ahead(core::NodeId node) const;
  void fill(core::NodeId node);
  void fill_places(core::NodeId node, bool waits);
  void fill_copy(core::NodeId node, const py::object& copy);
  void postpone(const py::object& dict, PyObject* key, core::NodeId target);
  void make_pending();
  void set_states();
  py::object filled(PyObject* container, Cursor& cursor);
  py::object patched(PyObject* dict, Cursor cursor);
  core::NodeId met(PyObject* value, Cursor& cursor);
  py::object flat_copy_of(PyObject* value);
  py::object value(PyObject* source, Cursor& cursor);
  py::object build(core::NodeId node);
  py::object held(core::NodeId node) const;
  py::object build_tensor(core::NodeId node);
  PyTypeObject* type_of_tensor(core::NodeId node);
  bool in_parameter_slot(core::NodeId node);
  py::object finished(core::TensorId id, const py::object& tensor);
  py::object build_list(core::NodeId node);
  py::object build_tuple(core::NodeId node);
  py::object build_dict(core::NodeId node);
  py::object build_set(core::NodeId node);
  py::object build_plain(core::NodeId node);
  py::object build_reduced(core::NodeId node);
  void set_state(const py::object& object, const py::object& state);
  bool is_twin(core::NodeId node) const { return node >= walk_.first_twin; }
  void make_memo();
  void add_made(Memo& memo) const;
  py::object deepcopy(core::NodeId node);
  py::object build_back(core::NodeId node);
  py::object build_scripted(core::NodeId node);
  void assign_scripted_slots(core::NodeId node, const py::object& module);
  py::object copied_by_user_code(core::NodeId node) const;
  void keep(core::NodeId node, py::object made);
  void fill_dict(py::dict target, PyObject* source, Cursor& cursor);
  py::object half(const py::object& state, Cursor& cursor);

  Walk& walk_;
  Types& types_;
  const std::vector<at::Tensor>& tensors_;
  const bool takes_drafts_;       // else what is drafted is copied: other clones need it too
  std::vector<py::object> made_;  // by core::NodeId
  std::vector<Pending> pending_;
  std::vector<Unset> unset_;
  uint32_t filling_ = core::none;         // in unset_, while a module that has a __setstate__ is being filled
  std::vector<core::NodeId> attributed_;  // tensors whose Python attributes are still to come
  std::vector<bool> parameters_;          // by core::NodeId: in a parameter slot; made when first asked for
  std::optional<Memo> memo_;              // for copy.deepcopy; made when first asked for
};

}  // namespace ramet::python
