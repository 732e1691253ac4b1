/// One walk in progress: sessions and modules in walk.cpp, plain state in walk_state.cpp.
#pragma once

#include <array>
#include <charconv>

#include "python/walk.h"

namespace ramet::python {

/// Weak references are a second way to an object that only one container refers to.
bool has_weak_references(PyObject* object);

class Walker {
 public:
  Walker(Walk& walk, const WalkOptions& options) : walk_(walk), graph_(walk.graph), options_(options) {}

  void run(py::handle source);

 private:
  core::NodeId visit(PyObject* object);
  core::NodeId add(PyObject* object);
  void fetch_ahead(core::NodeId node) const;
  void expand(core::NodeId node);
  void expand_session(core::NodeId node);
  void expand_module(core::NodeId node, bool registered_only);
  void expand_dict(core::NodeId node, PyObject* dict);
  void expand_container(core::NodeId node);
  void expand_reduced(core::NodeId node);
  void registered(core::NodeId owner, core::SlotKind kind, PyObject* container);
  void expand_scripted(core::NodeId node);
  void add_state(core::NodeId owner, PyObject* value, uint32_t name);
  void add_back_edges();
  void nameless(core::NodeId owner, PyObject* value);
  void item(core::NodeId owner, PyObject* key, PyObject* value);
  void element(core::NodeId owner, Py_ssize_t index, PyObject* value);
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
    std::array<char, 24> text;
    const auto end = std::to_chars(text.data(), text.data() + text.size(), index).ptr;
    return graph_.add_name({text.data(), static_cast<std::size_t>(end - text.data())});
  }

  Walk& walk_;
  core::Graph& graph_;
  const WalkOptions& options_;
  std::unordered_set<PyObject*> session_;  // the containers whose members are the session's
  ska::flat_hash_map<PyObject*, core::NodeId> identities_;
  bool complete_ = false;              // every node is in identities_, also what only one container refers to
  std::vector<core::NodeId> back_;     // nodes whose target is known only at the end
  std::vector<PyObject*> registered_;  // dicts of registered slots that something else may refer to
  bool weak_ = false;                  // within a module's hooks
};

}  // namespace ramet::python
