/// Pieces of memory, from the cache where one fits. Private to the core; see ramet/memory.h.
#pragma once

#include <cstddef>

namespace ramet::core {

/// What a piece was asked with, and has to be given back with.
struct Piece {
  void* memory = nullptr;  ///< Aligned to 64 bytes at least.
  std::size_t bytes = 0;   ///< At least as many as asked for.
  bool warm = false;       ///< Its pages are in place: it comes from the cache.
};

/// Throws c10::OutOfMemoryError.
Piece acquire(std::size_t bytes);

/// Never throws. `memory` and `bytes` are those of the piece.
void release(void* memory, std::size_t bytes) noexcept;

}  // namespace ramet::core
