/// Finds what a clone still has of its source, because no member list names what refers to it.
///
/// Input: a Walk, its plan, and use counts from before the clone was built. Looks at use counts only, so that it sees
/// whatever owns a tensor or a module of the source (a vector, a closure's capture), and no raw or weak pointer.
#pragma once

#include <ramet/plan.h>

#include "nn/walk.h"

namespace ramet::nn {

/// Who may have been forgotten: the tensors and modules of the source that the clone has its own of.
class Forgotten {
 public:
  /// Counts uses as they are before the clone is built.
  Forgotten(const Walk& walk, const core::Plan& plan);

  /// Throws UncloneableError, which names the class and what its clone still points to, if something is in use more
  /// often now. Other threads may use the source meanwhile: what they hold is told apart by looking again, and by
  /// building the modules again, with `tensors`.
  void check(const std::vector<at::Tensor>& tensors);

 private:
  void recount();
  bool settles();
  [[noreturn]] void report() const;

  const Walk& walk_;
  std::vector<std::pair<core::NodeId, std::size_t>> uses_;  // of each that is still suspected
  std::vector<std::shared_ptr<const void>> accumulators_;   // autograd's, which use the tensors that gradients go to
};

}  // namespace ramet::nn
