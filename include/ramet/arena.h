/// Memory for the blocks of a plan.
///
/// The one place that allocates and fills a clone's storages, so that how it is done (packing, pooling, huge pages,
/// streaming stores) concerns nothing else.
#pragma once

#include <ramet/plan.h>

#include <c10/core/Storage.h>

namespace ramet::core {

/// Makes `n` copies of every block: result[i * blocks + b] is block b of the i-th copy.
///
/// Each is a storage of its own, resizable, on the block's device, holding the block's ranges of its source, converted
/// where the block says so; on the meta device it holds nothing, and a lazy one holds the source's memory. Throws what
/// the allocator throws, with nothing left behind.
std::vector<c10::Storage> fill(const Plan& plan, std::size_t n);

}  // namespace ramet::core
