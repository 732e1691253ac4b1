/// Asks the processor for memory ahead of its use: waiting for it is most of the time of many small tensors, since what
/// counts references waits alone. Private to the library.
#pragma once

#include <ATen/core/Tensor.h>

namespace ramet::core {

inline constexpr std::size_t cache_line = 64;

template <std::size_t count>
void fetch_lines(const void* memory) {
  for (std::size_t i = 0; i < count; ++i) __builtin_prefetch(static_cast<const char*>(memory) + i * cache_line);
}

/// What a tensor is.
inline void fetch(const at::Tensor& tensor) {
  fetch_lines<(sizeof(c10::TensorImpl) + cache_line - 1) / cache_line>(tensor.unsafeGetTensorImpl());
}

/// What autograd knows of it; the tensor should have been fetched.
inline void fetch_autograd(const at::Tensor& tensor) {
  const c10::AutogradMetaInterface* meta = tensor.unsafeGetTensorImpl()->autograd_meta();
  if (meta != nullptr) fetch_lines<4>(meta);
}

/// What its storage is; the tensor should have been fetched.
inline void fetch_storage(const at::Tensor& tensor) {
  fetch_lines<2>(tensor.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl());
}

}  // namespace ramet::core
