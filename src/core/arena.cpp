/// Memory for the blocks of a plan, and the bytes in it. Small blocks are packed into chunks, since an allocation takes
/// longer than the copy; a large one has a chunk of its own, so that a survivor never pins much more than itself. All
/// bytes are copied at the end, by all threads.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/CPUAllocator.h>
#include <ramet/arena.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

#include "core/fetch.h"
#include "core/pool.h"
#include "core/streaming.h"

namespace ramet::core {
namespace {

constexpr std::size_t alignment = 64, small_block = std::size_t{1} << 20, largest_chunk = std::size_t{8} << 20,
                      huge_page = std::size_t{2} << 20;

std::size_t round_up(std::size_t n) { return (n + alignment - 1) / alignment * alignment; }

/// The head of a piece of memory that slices lie in; it goes with the last of them.
struct alignas(alignment) Chunk {
  /// While slices are cut there are more users than slices can be: an atomic increment for each would wait until the
  /// line before the slice has come from memory: a twentieth of a clone of many small tensors.
  static constexpr uint32_t cutting = uint32_t{1} << 31;

  std::atomic<uint32_t> users{cutting};
  uint32_t slices = 0;
  bool warm = false;  ///< Its pages are in place.
  std::size_t bytes = 0;

  static Chunk* make(std::size_t room) {
    const Piece piece = acquire(sizeof(Chunk) + room);
    auto* chunk = new (piece.memory) Chunk;
    chunk->warm = piece.warm;
    chunk->bytes = piece.bytes;
    return chunk;
  }

  static void release(Chunk* chunk, uint32_t count = 1) {
    if (chunk->users.fetch_sub(count, std::memory_order_acq_rel) == count) core::release(chunk, chunk->bytes);
  }

  /// A slice's data comes after a line that refers to its chunk. A context that equals the data marks memory that is
  /// nothing but that: torch may share it lazily.
  c10::DataPtr cut(char* at) {
    auto** data = reinterpret_cast<Chunk**>(at + alignment);
    data[-1] = this;
    ++slices;
    return {data, data, [](void* data) { release(static_cast<Chunk**>(data)[-1]); }, at::kCPU};
  }

  char* begin() { return reinterpret_cast<char*>(this + 1); }
};

/// From here on a chunk's users are its slices.
struct EndCutting {
  void operator()(Chunk* chunk) const { Chunk::release(chunk, Chunk::cutting - chunk->slices); }
};
using ChunkPtr = std::unique_ptr<Chunk, EndCutting>;

struct Slice {
  c10::DataPtr memory;
  bool warm;
};

/// Cuts slices from chunks.
class Packer {
 public:
  /// `expected`: the room that all small slices to come will take.
  explicit Packer(std::size_t expected) : expected_(expected) {}

  static std::size_t room(std::size_t bytes) { return alignment + round_up(bytes); }
  static bool packs(std::size_t bytes) { return bytes < small_block; }

  Slice slice(std::size_t bytes) {
    const std::size_t room = Packer::room(bytes);
    if (!packs(bytes)) {
      const ChunkPtr own(Chunk::make(room));
      return {own->cut(own->begin()), own->warm};
    }
    if (room > left_) {
      left_ = std::min(expected_, largest_chunk);
      chunk_.reset(Chunk::make(left_));
      next_ = chunk_->begin();
    }
    char* const at = next_;
    next_ += room;
    left_ -= room;
    expected_ -= room;
    return {chunk_->cut(at), chunk_->warm};
  }

 private:
  std::size_t expected_;
  std::size_t left_ = 0;
  char* next_ = nullptr;
  ChunkPtr chunk_;
};

/// All copies of one call, cut at the huge pages of their targets so that no two threads fault on the same one.
class Copies {
 public:
  void add(char* to, const char* from, std::size_t bytes, bool warm) {
    while (bytes > 0) {
      const std::size_t left_in_page = huge_page - reinterpret_cast<std::uintptr_t>(to) % huge_page;
      const std::size_t part = bytes < 2 * huge_page ? bytes : left_in_page;
      copies_.push_back({to, from, part, warm});
      cost_ += part + overhead;
      if (cost_ >= unit) end_unit();
      to += part, from += part, bytes -= part;
    }
  }

  /// Threads take the next unit as each gets done with one: where other work shares the processors, an even division
  /// would wait for the slowest.
  void run() {
    if (cost_ > 0) end_unit();
    std::atomic<std::size_t> next{0};
    const auto work = [&](int64_t, int64_t) {
      for (std::size_t i = next++; i < units_.size(); i = next++) {
        for (std::size_t k = i == 0 ? 0 : units_[i - 1]; k < units_[i]; ++k) copy(copies_[k]);
      }
    };
    const auto threads = std::min<std::size_t>(at::get_num_threads(), units_.size());
    at::parallel_for(0, static_cast<int64_t>(threads), 1, work);
  }

 private:
  struct Copy {
    char* to;
    const char* from;
    std::size_t bytes;
    bool warm;
  };

  static constexpr std::size_t unit = huge_page, overhead = 256, least_to_stream = 4096;

  void end_unit() {
    units_.push_back(copies_.size());
    cost_ = 0;
  }

  static void copy(const Copy& it) {
    if (it.warm && it.bytes >= least_to_stream) {
      copy_streaming(it.to, it.from, it.bytes);
    } else {
      std::memcpy(it.to, it.from, it.bytes);
    }
  }

  std::vector<Copy> copies_;
  std::vector<std::size_t> units_;  // where each ends in copies_
  std::size_t cost_ = 0;
};

/// Asks the processor for what filling the next blocks will read.
void fetch_ahead(const Plan& plan, std::size_t block) {
  if (block + 8 >= plan.blocks.size()) return;
  fetch_lines<2>(plan.blocks[block + 8].source);
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

/// By torch's own copy, which converts and goes between devices, few large ones.
c10::Storage fill_converted(const Plan& plan, const Block& block, Packer& packer) {
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
    target.slice(0, at, at + end - begin).copy_(source.slice(0, begin, end));
  }
  return result;
}

}  // namespace

std::vector<c10::Storage> fill(const Plan& plan, std::size_t n) {
  std::size_t expected = 0;
  for (const Block& block : plan.blocks) {
    if (block.device.is_cpu() && Packer::packs(block.bytes)) expected += Packer::room(block.bytes);
  }
  std::vector<c10::Storage> result;
  result.reserve(n * plan.blocks.size());
  Copies copies;
  for (std::size_t i = 0; i < n; ++i) {
    Packer packer(expected);
    for (std::size_t b = 0; b < plan.blocks.size(); ++b) {
      fetch_ahead(plan, b);
      const Block& block = plan.blocks[b];
      result.push_back(is_plain(block) ? fill_plain(plan, block, packer, copies) : fill_converted(plan, block, packer));
    }
  }
  copies.run();
  return result;
}

}  // namespace ramet::core
