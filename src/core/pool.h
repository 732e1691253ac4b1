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

/// Memory that many small blocks are packed into has at most this size, whatever the cache holds: one of them pins no
/// more.
inline constexpr std::size_t largest_packed = std::size_t{8} << 20;

/// Throws c10::OutOfMemoryError.
Piece acquire(std::size_t bytes);

/// Never throws. `memory` and `bytes` are those of the piece.
void release(void* memory, std::size_t bytes) noexcept;

}  // namespace ramet::core
