/// A slice's data comes after a line that refers to its chunk; the chunk counts its slices, and goes with the last.
#include "core/slices.h"

#include <atomic>
#include <cstdint>
#include <new>

#include "core/pool.h"

namespace ramet::core {
namespace {

constexpr std::size_t alignment = 64, small_block = std::size_t{1} << 20;

std::size_t round_up(std::size_t n) { return (n + alignment - 1) / alignment * alignment; }

std::size_t room_for(std::size_t bytes) { return alignment + round_up(bytes); }
bool packs(std::size_t bytes) { return bytes < small_block; }

}  // namespace

/// The head of a piece of memory that slices lie in.
struct alignas(alignment) Chunk {
  /// While slices are cut there are more users than slices can be: an atomic increment for each would wait until the
  /// line before the slice has come from memory: a twentieth of a clone of many small tensors.
  static constexpr uint32_t cutting = uint32_t{1} << 31;

  std::atomic<uint32_t> users{cutting};
  uint32_t slices = 0;
  bool warm = false;
  std::size_t bytes = 0;

  /// `size`: with the head itself.
  static Chunk* make(std::size_t size) {
    const Piece piece = acquire(size);
    auto* chunk = new (piece.memory) Chunk;
    chunk->warm = piece.warm;
    chunk->bytes = piece.bytes;
    return chunk;
  }

  static Chunk* of(const void* slice) { return static_cast<Chunk* const*>(slice)[-1]; }

  void release(uint32_t count = 1) {
    if (users.fetch_sub(count, std::memory_order_acq_rel) == count) core::release(this, bytes);
  }

  static void free_slice(void* slice) { of(slice)->release(); }

  c10::DataPtr cut(char* at) {
    auto** data = reinterpret_cast<Chunk**>(at + alignment);
    data[-1] = this;
    ++slices;
    return {data, data, &free_slice, at::kCPU};
  }

  char* begin() { return reinterpret_cast<char*>(this + 1); }
};

void EndCutting::operator()(Chunk* chunk) const noexcept { chunk->release(Chunk::cutting - chunk->slices); }

Slice cut_alone(std::size_t bytes) {
  const std::unique_ptr<Chunk, EndCutting> own(Chunk::make(sizeof(Chunk) + room_for(bytes)));
  return {own->cut(own->begin()), own->warm};
}

c10::DeleterFnPtr slice_deleter() { return &Chunk::free_slice; }

bool has_neighbours(const void* slice) { return Chunk::of(slice)->users.load(std::memory_order_relaxed) > 1; }

std::vector<std::size_t> Packer::chunk_sizes(const std::vector<std::size_t>& slices) {
  std::vector<std::size_t> result;
  for (const std::size_t bytes : slices) {
    if (!packs(bytes)) continue;
    const std::size_t room = room_for(bytes);
    if (result.empty() || result.back() + room > largest_packed) result.push_back(sizeof(Chunk));
    result.back() += room;
  }
  return result;
}

Slice Packer::slice(std::size_t bytes) {
  if (!packs(bytes)) return cut_alone(bytes);
  if (left_ == 0) {
    const std::size_t size = *next_size_++;
    chunk_.reset(Chunk::make(size));
    next_ = chunk_->begin();
    left_ = size - sizeof(Chunk);
  }
  const std::size_t room = room_for(bytes);
  char* const at = next_;
  next_ += room;
  left_ -= room;
  return {chunk_->cut(at), chunk_->warm};
}

}  // namespace ramet::core
