/// Copies into memory that is not read again soon. Private to the core.
#pragma once

#include <cstddef>

namespace ramet::core {

/// As memcpy, past the caches where the processor can: half the traffic, if the target's pages are in place. Slower
/// than memcpy if they are not, or for less than a few KiB.
void copy_streaming(void* to, const void* from, std::size_t bytes);

}  // namespace ramet::core
