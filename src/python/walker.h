/// One walk in progress: modules in walk.cpp, sessions, optimizers, plain state and refusals each in a file of its own.
#pragma once

#include <array>
#include <charconv>

#include "python/walk.h"

namespace ramet::python {

/// Weak references are a second way to an object that only one container refers to.
bool has_weak_references(PyObject* object);

/// An object's __dict__, made if there is none.
inline py::object dict_of(PyObject* object) {
  PyObject* dict = PyObject_GenericGetDict(object, nullptr);
  if (dict == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(dict);
}

class Walker {
 public:
  Walker(Walk& walk, const WalkOptions& options) : walk_(walk), graph_(walk.graph), options_(options) {}

  void run(py::handle source);

 private:
  core::NodeId visit(PyObject* object);
  core::NodeId add(PyObject* object);
  void fetch_ahead(core::NodeId node) const;
  void expand(core::NodeId node);
  void check_source(PyObject* object);
  void check_members() const;
  bool is_container(PyObject* object);
  void expand_session(core::NodeId node);
  void make_member(core::Slot& slot);
  void expand_module(core::NodeId node, bool registered_only);
  void expand_state(core::NodeId node);
  void expand_dict(core::NodeId node, PyObject* dict);
  void expand_attributes(core::NodeId node, PyObject* dict);
  void expand_optimizer(core::NodeId node, PyObject* dict);
  void follow_parameters();
  void follow(core::TensorId parameter, PyObject* held, bool with_step);
  core::TensorId tensor_of(PyObject* object) const;
  void expand_container(core::NodeId node);
  void expand_reduced(core::NodeId node);
  void expand_arguments(core::NodeId node, const py::tuple& arguments);
  void refuse(core::NodeId node, const std::string& why);
  core::NodeId widest_refused(core::NodeId node) const;
  void state_refusals();
  void registered(core::NodeId owner, core::SlotKind kind, PyObject* container);
  void expand_scripted(core::NodeId node);
  void add_state(core::NodeId owner, PyObject* value, uint32_t name);
  void add_back_edges();
  void nameless(core::NodeId owner, PyObject* value);
  void item(core::NodeId owner, PyObject* key, PyObject* value);
  template <class Key>
  void element(core::NodeId owner, Key key, PyObject* value);
  bool is_flat(PyObject* object);
  bool needs_no_node(PyObject* object) { return walk_.types.is_atomic(object) || is_flat(object); }
  void complete_identities();
  void expect_references(PyObject* container, Py_ssize_t count) {
    if (Py_REFCNT(container) > count) complete_identities();
  }
  void hold_beneath_kept_modules();
  void add_outside_tensors();

  uint32_t name_of(PyObject* key) {
    if (PyUnicode_Check(key)) {
      Py_ssize_t size = 0;
      const char* text = PyUnicode_AsUTF8AndSize(key, &size);
      if (text == nullptr) throw py::error_already_set();
      const std::string_view name(text, size);
      return name.find('.') == name.npos ? graph_.add_name(name) : core::none;
    }
    return PyLong_CheckExact(key) ? graph_.add_name(py::str(key).cast<std::string>()) : core::none;
  }

  uint32_t name_of(Py_ssize_t index) {
    std::array<char, 24> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), index).ptr;
    return graph_.add_name({text.data(), static_cast<std::size_t>(end - text.data())});
  }

  Walk& walk_;
  core::Graph& graph_;
  const WalkOptions& options_;
  ska::flat_hash_map<PyObject*, core::NodeId> identities_;
  bool complete_ = false;              // every node is in identities_, also what only one container refers to
  std::vector<core::NodeId> back_;     // nodes whose target is known only at the end
  std::vector<PyObject*> registered_;  // dicts of registered slots that something else may refer to
  std::vector<std::pair<core::NodeId, core::NodeId>> optimizers_;  // and what each keeps for its parameters
  bool weak_ = false;                                              // within hooks
  std::vector<uint32_t>* absent_ = nullptr;                        // in a session: the names of members that hold None
};

}  // namespace ramet::python
