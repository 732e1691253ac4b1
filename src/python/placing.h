/// Puts objects in the place of others, in a live model.
#pragma once

#include <ramet/changes.h>

#include <functional>
#include <unordered_map>
#include <unordered_set>

#include "python/walk.h"

namespace ramet::python {

/// Carries out the changes of one walk: `values` are by Change::now. Throws PlanError, which starts with `verb`, for a
/// place that cannot be set, before the first one is.
class Placing {
 public:
  Placing(std::string verb, const Walk& walk, const core::Changes& changes, const std::vector<py::object>& values);

  /// Sets every place.
  void run() const;

 private:
  /// By the object that is replaced.
  using Objects = std::unordered_map<PyObject*, py::object>;

  void find_optimizers();
  void plan_registered(const core::Change& change, const py::object& now);
  void plan_plain(core::NodeId owner, const Objects& now, std::size_t places);
  bool plan_dict(const py::object& dict, const Objects& now);
  bool plan_list(const py::object& list, const Objects& now);
  bool plan_set(const py::object& set, const Objects& now);
  [[noreturn]] void fail(core::NodeId owner, const std::string& what) const;

  std::string verb_;
  const Walk& walk_;
  /// What optimizers of the session step, and what they keep for it.
  struct Optimizer {
    py::object object;
    Objects now;
  };
  std::vector<Optimizer> optimizers_;
  std::unordered_map<PyObject*, std::size_t> params_;  // in optimizers_, by the list of a group's parameters
  std::unordered_set<PyObject*> states_;
  std::vector<std::function<void()>> steps_;
};

}  // namespace ramet::python
