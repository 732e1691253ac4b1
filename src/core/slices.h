/// Memory for single storages, cut from pieces of the pool. Private to the core.
#pragma once

#include <c10/core/Allocator.h>

#include <memory>
#include <vector>

namespace ramet::core {

struct Chunk;

/// From here on a chunk's users are its slices.
struct EndCutting {
  void operator()(Chunk* chunk) const noexcept;
};

/// Memory for one storage. Its context equals its data, which marks memory that is nothing but that.
struct Slice {
  c10::DataPtr memory;
  bool warm;  ///< Its pages are in place.
};

/// Memory with nothing else beside it, however small.
Slice cut_alone(std::size_t bytes);

/// What frees a slice, and so marks it.
c10::DeleterFnPtr slice_deleter();

/// Whether other storages have slices of the piece that this slice (its data) lies in: it keeps theirs too.
bool has_neighbours(const void* slice);

/// Cuts slices: packs small ones into chunks, since an allocation takes longer than the copy; a large one gets a chunk
/// of its own, so that a survivor never pins much more than itself.
class Packer {
 public:
  /// `sizes`: of the chunks for small slices, one after another.
  explicit Packer(const std::vector<std::size_t>& sizes) : next_size_(sizes.begin()) {}

  /// Sizes that slices of so many bytes fill to the last one, as long as they are cut in this order.
  static std::vector<std::size_t> chunk_sizes(const std::vector<std::size_t>& slices);

  Slice slice(std::size_t bytes);

 private:
  std::vector<std::size_t>::const_iterator next_size_;
  std::size_t left_ = 0;
  char* next_ = nullptr;
  std::unique_ptr<Chunk, EndCutting> chunk_;
};

}  // namespace ramet::core
