/// The memo for user code: what `copy.deepcopy(x, memo)` must know of a clone that is being built.
///
/// Input: a Walk and the clone's tensors. Output: a dict as copy.deepcopy keeps it, with what has been made by the
/// original's id, and storages under "torch" as torch's own __deepcopy__ expects them. Makes nothing itself.
#pragma once

#include "python/walk.h"

namespace ramet::python {

class Memo {
 public:
  Memo(const Walk& walk, const std::vector<at::Tensor>& tensors);

  void add(core::NodeId node, const py::object& made);

  /// What user code has copied by itself; null if it has not met the node's object.
  py::object find(core::NodeId node) const;

  py::object deepcopy(const py::object& object) const;

 private:
  const Walk& walk_;
  py::dict memo_;
  py::object deepcopy_;
};

}  // namespace ramet::python
