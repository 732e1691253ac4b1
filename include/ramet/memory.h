/// The memory that dropped clones leave behind, kept warm for the next.
///
/// Large pieces of clones' memory are mappings of their own. A freed one stays mapped in a cache of the process, up to
/// a limit: what takes time in a fresh clone is the system clearing its pages, not the copying. The system may take
/// cached pages back whenever it needs them, but for the latest 256 MiB. Everything here may be called from several
/// threads at once, and in a child after a fork.
#pragma once

#include <cstdint>

namespace ramet::memory {

/// Bytes, and how often the cache helped.
struct Stats {
  int64_t in_use = 0;  ///< Held by clones (or by tensors that outlive them).
  int64_t cached = 0;  ///< Freed, and kept for the next clone.
  int64_t limit = 0;   ///< What `cached` never exceeds.
  int64_t mapped = 0;  ///< How many pieces were asked of the system.
  int64_t reused = 0;  ///< How many came from the cache instead.
};

Stats stats();

/// Sets the limit and frees what exceeds it; 0 turns the cache off: all memory of clones is then the heap's. Returns
/// the limit before. At first it is 1 GiB or an eighth of the machine's memory, whichever is less, or what the
/// environment variable RAMET_MEMORY_LIMIT says, in bytes. Throws c10::ValueError for a negative limit.
int64_t set_limit(int64_t bytes);

/// Frees all that is cached.
void empty_cache();

}  // namespace ramet::memory
