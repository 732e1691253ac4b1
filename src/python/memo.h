/// The memo for user code: what `copy.deepcopy(x, memo)` must know of a clone that is being built.
///
/// Input: a Walk and the clone's tensors. Output: a dict as copy.deepcopy keeps it (the user's own, if there is one),
/// with what has been made by the original's id, and storages under "torch" as torch's own __deepcopy__ expects them.
/// Makes nothing itself.
#pragma once

#include "python/walk.h"

namespace ramet::python {

class Memo {
 public:
  /// `memo`: the dict to add to.
  Memo(const Walk& walk, const std::vector<at::Tensor>& tensors, py::dict memo);

  void add(core::NodeId node, const py::object& made);

  /// Forgets a node's object, so that user code makes another clone of it.
  void forget(core::NodeId node);

  /// What user code has copied by itself; null if it has not met the node's object.
  py::object find(core::NodeId node) const;

  py::object deepcopy(const py::object& object) const;

  /// As copy.deepcopy does: the memo keeps the source alive, since it knows it by its address.
  void keep_alive(const py::object& source);

 private:
  const Walk& walk_;
  py::dict memo_;
  py::object deepcopy_;
};

}  // namespace ramet::python
