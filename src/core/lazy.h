/// Storages that hold one memory until one of them is written: copy on write. Private to the core.
///
/// From torch 2.13 on by a materializer of our own, which torch calls before it hands out a mutable pointer. The
/// storage that is written moves to memory of its own; the others stay where they are, and the last keeps the memory
/// without a copy. What makes it work is state of the storages alone, so that tensors over one storage stay tied.
///
/// Several threads may clone one storage at once, read it meanwhile, and write to different storages over one memory. A
/// write to a storage while another thread reads or clones it is a race as without us, and so is whatever asks for a
/// mutable pointer to read.
///
/// Before 2.13 by torch's own copy on write, with its limits: resize_ of such a storage before its first write, and
/// first writes inside at::parallel_for, end in torch's internal errors.
#pragma once

#include <c10/core/Storage.h>

namespace ramet::core {

/// Whether we know what memory a storage has, and so may hold it too: that of torch's CPU allocator, a slice of ours,
/// or what is held lazily already. Not: another library's, mapped files, shared or pinned memory, other devices.
bool can_be_lazy(c10::StorageImpl& storage);

/// A storage over the memory of `source`, which holds it lazily from now on as well; values, data pointer and versions
/// stay as they are. Throws c10::Error if it can no longer be lazy, for which someone must have written to it.
c10::Storage lazy_clone(c10::StorageImpl& source);

/// Whether two different storages hold one memory lazily.
bool are_lazy(c10::StorageImpl& a, c10::StorageImpl& b);

}  // namespace ramet::core
