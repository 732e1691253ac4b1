/// Items that go to, from or between devices, or change their dtype on the way. Private to the core.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace ramet::core {

/// Items of one storage that become those of another: two contiguous tensors of one dimension and one length.
struct Transfer {
  at::Tensor to, from;
};

/// Makes all transfers, in few large copies rather than one a tensor.
///
/// What goes between the CPU and a device passes through staging memory there is a bounded amount of, pinned where the
/// device can; small pieces share a copy. On the current stream of the caller's thread: on return, what was read may be
/// written again, and what went to the CPU is there.
void transfer(const std::vector<Transfer>& transfers);

}  // namespace ramet::core
