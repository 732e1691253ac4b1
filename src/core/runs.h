/// A strided tensor as runs of contiguous bytes, for questions about which bytes it uses. Private to the core.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

namespace ramet::core {

/// The bytes of a tensor that has elements: runs of `length` bytes from `begin` on, repeated by `outer` (byte stride,
/// size), from the smallest stride to the largest. Every stride is larger than `length`.
struct Runs {
  explicit Runs(const at::Tensor& tensor);

  std::vector<int64_t> starts() const;  ///< Of every run, in no order; a self-overlapping tensor repeats some.

  int64_t begin;
  int64_t length;
  std::vector<std::pair<int64_t, int64_t>> outer;
};

}  // namespace ramet::core
