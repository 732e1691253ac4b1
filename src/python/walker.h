/// One walk in progress: modules in walk.cpp, sessions, optimizers, plain state and refusals each in a file of its own.
#pragma once

#include <array>
#include <charconv>

#include "python/flat.h"
#include "python/walk.h"

namespace ramet::python {

/// Weak references are a second way to an object that only one container refers to.
inline bool has_weak_references(PyObject* object) {
  const Py_ssize_t offset = Py_TYPE(object)->tp_weaklistoffset;
  if (offset == 0) return false;
  // A negative offset (Python 3.12 on) tells only that there may be some.
  return offset < 0 || *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(object) + offset) != nullptr;
}

/// An object's __dict__, made if there is none.
inline py::object dict_of(PyObject* object) { return steal(PyObject_GenericGetDict(object, nullptr)); }

class Walker {
 public:
  Walker(Walk& walk, const WalkOptions& options)
      : walk_(walk),
        graph_(walk.graph),
        options_(options),
        every_node_(options.every_state || !options.boundary.empty()) {}

  void run(py::handle source);

 private:
  core::NodeId visit(PyObject* object, Py_ssize_t references = 1);
  void add_slot(core::NodeId owner, core::SlotKind kind, uint32_t name, core::NodeId target, Place place = {}) {
    graph_.add_slot(owner, kind, name, target);
    if (options_.drafts) walk_.places.push_back(place);
  }
  core::NodeId add(PyObject* object);
  void fetch_ahead(core::NodeId node) const;
  void ask_for_deepcopy(core::NodeId node);
  void open_tensor(core::NodeId node);
  void expand(core::NodeId node);
  void check_source(PyObject* object);
  void check_members() const;
  bool is_container(PyObject* object);
  void expand_session(core::NodeId node);
  void make_member(core::Slot& slot);
  bool open_module(core::NodeId node, bool registered_only);
  void expand_module(core::NodeId node, bool registered_only);
  void expand_state(core::NodeId node);
  void expand_dict(core::NodeId node, PyObject* dict);
  bool draft(core::NodeId node);
  bool copies_itself(core::NodeId node, PyObject* dict);
  /// Whose __dict__ (or draft) the walk goes through.
  struct Owner {
    core::NodeId node;
    PyObject* dict;
    Py_ssize_t references;  // to each value, if nothing else holds it
    bool drafted() const { return references > 1; }
  };
  Owner owner_of(core::NodeId node) const {
    const Item& item = walk_.items[node];
    return {node, item.extra.ptr(), item.drafted ? 2 : 1};
  }
  struct Entry {
    PyObject *key, *value;
  };
  const std::vector<Entry>& gathered(PyObject* dict);
  bool attribute(const Owner& owner, PyObject* key, PyObject* value);
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
  void registered(core::NodeId owner, core::SlotKind kind, PyObject* key, PyObject* container);
  py::object copy_of_registered(PyObject* container);
  void expand_scripted(core::NodeId node);
  void add_state(core::NodeId owner, PyObject* value, uint32_t name);
  void add_back_edges();
  void nameless(core::NodeId owner, PyObject* value);
  void item(core::NodeId owner, PyObject* key, PyObject* value);
  template <class Key>
  void element(core::NodeId owner, Key key, PyObject* value);
  /// Only its container (and the draft) refers to it and it holds atomic values: a flat copy will do, and no path leads
  /// beneath it.
  bool is_flat(PyObject* object, Py_ssize_t references = 1) {
    if (every_node_ || complete_ || Py_REFCNT(object) != references) return false;
    return holds_atomic(object, walk_.types) && !has_weak_references(object);
  }
  bool needs_no_node(PyObject* object) { return walk_.types.is_atomic(object) || is_flat(object); }
  void complete_identities();
  void expect_references(PyObject* container, Py_ssize_t count) {
    if (Py_REFCNT(container) > count) complete_identities();
  }
  void hold_beneath_kept_modules();
  void add_outside_tensors();

  uint32_t name_of(PyObject* key) {
    if (PyUnicode_Check(key)) {
      Named& named = named_[reinterpret_cast<std::uintptr_t>(key) / 16 % named_.size()];
      if (named.key.ptr() == key) return named.name;
      Py_ssize_t size = 0;
      const char* text = PyUnicode_AsUTF8AndSize(key, &size);
      if (text == nullptr) PyErr_Clear();  // a lone surrogate: no path can name it
      const std::string_view name = text == nullptr ? std::string_view(".") : std::string_view(text, size);
      const bool nameable = name.find_first_of(std::string_view(".\0", 2)) == name.npos;
      named = {borrow(key), nameable ? graph_.add_name(name) : core::none};
      return named.name;
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
  const bool every_node_;  // also for what a flat copy would do for
  ska::flat_hash_map<PyObject*, core::NodeId> identities_;
  bool complete_ = false;  // every node is in identities_, also what only one container refers to
  /// Names met lately: most are those of a few parameters and attributes.
  struct Named {
    py::object key;
    uint32_t name = core::none;
  };
  std::array<Named, 64> named_;
  std::vector<Entry> entries_;      // of the dict gone through
  std::vector<core::NodeId> back_;  // nodes whose target is known only at the end
  /// Dicts of registered slots that something else may refer to, held so that nothing else gets their addresses, and
  /// theirs in drafts.
  std::vector<std::pair<py::object, PyObject*>> registered_;
  std::vector<std::pair<core::NodeId, core::NodeId>> optimizers_;  // and what each keeps for its parameters
  bool weak_ = false;                                              // within hooks
  std::vector<uint32_t>* absent_ = nullptr;                        // in a session: the names of members that hold None
};

}  // namespace ramet::python
