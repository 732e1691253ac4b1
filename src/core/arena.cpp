/// Memory for the blocks of a plan, and the bytes in it. Small blocks are packed into chunks, since an allocation takes
/// longer than the copy; a large one has a chunk of its own, so that a survivor never pins much more than itself. All
/// bytes are copied at the end, by all threads.
#include <ATen/ops/empty.h>
#include <c10/core/CPUAllocator.h>
#include <ramet/arena.h>

#include <atomic>
#include <new>

#include "core/copies.h"
#include "core/pool.h"
#include "core/transfers.h"

namespace ramet::core {
namespace {

constexpr std::size_t alignment = 64, small_block = std::size_t{1} << 20;

std::size_t round_up(std::size_t n) { return (n + alignment - 1) / alignment * alignment; }

/// The head of a piece of memory that slices lie in; it goes with the last of them.
struct alignas(alignment) Chunk {
  std::atomic<uint32_t> users{1};
  bool warm = false;  ///< Its pages are in place.
  std::size_t bytes = 0;

  /// `size`: with the head itself.
  static Chunk* make(std::size_t size) {
    const Piece piece = acquire(size);
    auto* chunk = new (piece.memory) Chunk;
    chunk->warm = piece.warm;
    chunk->bytes = piece.bytes;
    return chunk;
  }

  static void release(Chunk* chunk) {
    if (chunk->users.fetch_sub(1, std::memory_order_acq_rel) == 1) core::release(chunk, chunk->bytes);
  }

  /// A slice's data comes after a line that refers to its chunk. A context that equals the data marks memory that is
  /// nothing but that: torch may share it lazily.
  c10::DataPtr cut(char* at) {
    auto** data = reinterpret_cast<Chunk**>(at + alignment);
    data[-1] = this;
    users.fetch_add(1, std::memory_order_relaxed);
    return {data, data, [](void* data) { release(static_cast<Chunk**>(data)[-1]); }, at::kCPU};
  }

  char* begin() { return reinterpret_cast<char*>(this + 1); }
};

struct ReleaseChunk {
  void operator()(Chunk* chunk) const { Chunk::release(chunk); }
};
using ChunkPtr = std::unique_ptr<Chunk, ReleaseChunk>;

struct Slice {
  c10::DataPtr memory;
  bool warm;
};

/// Cuts slices from chunks.
class Packer {
 public:
  /// `sizes`: of the chunks for small blocks, one after another.
  explicit Packer(const std::vector<std::size_t>& sizes) : next_size_(sizes.begin()) {}

  static std::size_t room(std::size_t bytes) { return alignment + round_up(bytes); }
  static bool packs(std::size_t bytes) { return bytes < small_block; }

  /// Sizes that the small blocks of `plan` fill to the last byte, as long as they are cut in order.
  static std::vector<std::size_t> sizes(const Plan& plan) {
    std::vector<std::size_t> result;
    for (const Block& block : plan.blocks) {
      if (!block.device.is_cpu() || !packs(block.bytes)) continue;
      const std::size_t room = Packer::room(block.bytes);
      if (result.empty() || result.back() + room > largest_packed) result.push_back(sizeof(Chunk));
      result.back() += room;
    }
    return result;
  }

  Slice slice(std::size_t bytes) {
    const std::size_t room = Packer::room(bytes);
    if (!packs(bytes)) {
      const ChunkPtr own(Chunk::make(sizeof(Chunk) + room));
      return {own->cut(own->begin()), own->warm};
    }
    if (left_ == 0) {
      const std::size_t size = *next_size_++;
      chunk_.reset(Chunk::make(size));
      next_ = chunk_->begin();
      left_ = size - sizeof(Chunk);
    }
    char* const at = next_;
    next_ += room;
    left_ -= room;
    return {chunk_->cut(at), chunk_->warm};
  }

 private:
  std::vector<std::size_t>::const_iterator next_size_;
  std::size_t left_ = 0;
  char* next_ = nullptr;
  ChunkPtr chunk_;
};

/// Asks the processor for what filling the next blocks will read.
void fetch_ahead(const Plan& plan, std::size_t block) {
  if (block + 4 < plan.blocks.size()) __builtin_prefetch(plan.blocks[block + 4].source);
}

c10::Storage storage_over(c10::DataPtr memory, int64_t bytes) {
  return c10::Storage(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), bytes,
                                                            std::move(memory), c10::GetCPUAllocator(),
                                                            /*resizable=*/true));
}

c10::Storage fill_plain(const Plan& plan, const Block& block, Packer& packer, Copies& copies) {
  Slice slice = packer.slice(block.bytes);
  const auto* source = static_cast<const char*>(block.source->data());
  for (uint32_t i = block.first; i < block.first + block.count; ++i) {
    const Range& range = plan.ranges[i];
    copies.add(static_cast<char*>(slice.memory.get()) + range.at, source + range.begin, range.end - range.begin,
               slice.warm);
  }
  return storage_over(std::move(slice.memory), block.bytes);
}

/// Whether a block is bytes in the machine's own memory, copied as they are.
bool is_plain(const Block& block) {
  return block.device.is_cpu() && block.source->device().is_cpu() && block.from == block.to;
}

/// A tensor of one dimension over the items of a storage.
at::Tensor items(const c10::Storage& storage, at::ScalarType dtype) {
  const auto count = static_cast<int64_t>(storage.nbytes() / c10::elementSize(dtype));
  return at::empty({0}, at::TensorOptions().dtype(dtype).device(storage.device())).set_(storage, 0, {count}, {1});
}

/// What goes to or comes from a device other than the CPU, or changes its dtype.
c10::Storage fill_converted(const Plan& plan, const Block& block, Packer& packer, std::vector<Transfer>& transfers) {
  const auto from_size = static_cast<int64_t>(c10::elementSize(block.from));
  const auto to_size = static_cast<int64_t>(c10::elementSize(block.to));
  const c10::Storage result =
      block.device.is_cpu()
          ? storage_over(packer.slice(block.bytes).memory, block.bytes)
          : at::empty({block.bytes}, at::TensorOptions().dtype(at::kByte).device(block.device)).storage();
  if (block.device.is_meta()) return result;
  const at::Tensor source =
      items(c10::Storage(c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(block.source)), block.from);
  const at::Tensor target = items(result, block.to);
  for (uint32_t i = block.first; i < block.first + block.count; ++i) {
    const Range& range = plan.ranges[i];
    const int64_t begin = range.begin / from_size, end = range.end / from_size, at = range.at / to_size;
    transfers.push_back({target.slice(0, at, at + end - begin), source.slice(0, begin, end)});
  }
  return result;
}

}  // namespace

std::vector<c10::Storage> fill(const Plan& plan, std::size_t n) {
  const std::vector<std::size_t> sizes = Packer::sizes(plan);
  std::vector<c10::Storage> result;
  result.reserve(n * plan.blocks.size());
  Copies copies;
  std::vector<Transfer> transfers;
  for (std::size_t i = 0; i < n; ++i) {
    Packer packer(sizes);
    for (std::size_t b = 0; b < plan.blocks.size(); ++b) {
      fetch_ahead(plan, b);
      const Block& block = plan.blocks[b];
      result.push_back(is_plain(block) ? fill_plain(plan, block, packer, copies)
                                       : fill_converted(plan, block, packer, transfers));
    }
  }
  copies.run();
  transfer(transfers);
  return result;
}

}  // namespace ramet::core
