/// Memory for the blocks of a plan. Small blocks are packed into chunks, since an allocation takes longer than the
/// copy; large ones have an allocation of their own, so that a survivor never pins much more than itself.
#include <ATen/ops/empty.h>
#include <c10/core/CPUAllocator.h>
#include <ramet/arena.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace ramet::core {
namespace {

constexpr std::size_t alignment = 64, small_block = std::size_t{1} << 20, largest_chunk = std::size_t{8} << 20,
                      huge_page = std::size_t{2} << 20;

std::size_t round_up(std::size_t n) { return (n + alignment - 1) / alignment * alignment; }

/// The head of a piece of memory that several slices lie in; it goes with the last of them.
struct alignas(alignment) Chunk {
  std::atomic<uint32_t> users{1};

  static void release(Chunk* chunk) {
    if (chunk->users.fetch_sub(1, std::memory_order_acq_rel) == 1)
      ::operator delete (chunk, std::align_val_t{alignment});
  }
};

/// Cuts slices from chunks. A slice's data comes after a line that refers to its chunk.
class Packer {
 public:
  /// `expected`: the room that all slices to come will take.
  explicit Packer(std::size_t expected) : expected_(expected) {}
  ~Packer() {
    if (chunk_ != nullptr) Chunk::release(chunk_);
  }
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;

  static std::size_t room(std::size_t bytes) { return alignment + round_up(bytes); }

  c10::DataPtr slice(std::size_t bytes) {
    const std::size_t room = Packer::room(bytes);
    if (room > left_) start_chunk();
    auto** data = reinterpret_cast<Chunk**>(next_ + alignment);
    data[-1] = chunk_;
    chunk_->users.fetch_add(1, std::memory_order_relaxed);
    next_ += room;
    left_ -= room;
    expected_ -= room;
    // A context that equals the data marks memory that is nothing but that: torch may share it lazily.
    return {data, data, [](void* data) { Chunk::release(static_cast<Chunk**>(data)[-1]); }, at::kCPU};
  }

 private:
  void start_chunk() {
    const std::size_t room = std::min(expected_, largest_chunk);
    void* memory = ::operator new (sizeof(Chunk) + room, std::align_val_t{alignment});
    if (chunk_ != nullptr) Chunk::release(chunk_);
    chunk_ = new (memory) Chunk;
    next_ = static_cast<char*>(memory) + sizeof(Chunk);
    left_ = room;
  }

  std::size_t expected_;
  std::size_t left_ = 0;
  char* next_ = nullptr;
  Chunk* chunk_ = nullptr;
};

bool is_packed(const Block& block) {
  return block.device.is_cpu() && static_cast<std::size_t>(block.bytes) < small_block;
}

/// Asks the processor for what filling the next small blocks will read.
void fetch_ahead(const Plan& plan, std::size_t block) {
  if (block + 8 < plan.blocks.size()) __builtin_prefetch(plan.blocks[block + 8].source);
  if (block + 4 < plan.blocks.size() && is_packed(plan.blocks[block + 4]))
    __builtin_prefetch(plan.blocks[block + 4].source->data());
}

c10::Storage fill_small(const Plan& plan, const Block& block, Packer& packer) {
  c10::DataPtr memory = packer.slice(block.bytes);
  const auto* source = static_cast<const char*>(block.source->data());
  for (uint32_t i = block.first; i < block.first + block.count; ++i) {
    const Range& range = plan.ranges[i];
    if (range.end == range.begin) continue;
    std::memcpy(static_cast<char*>(memory.get()) + range.at, source + range.begin, range.end - range.begin);
  }
  return c10::Storage(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), block.bytes,
                                                            std::move(memory), c10::GetCPUAllocator(),
                                                            /*resizable=*/true));
}

/// Memory for a large block. On Linux in huge pages: most of the time of a fresh copy goes into page faults.
c10::Storage allocate_large(const Block& block) {
  const auto bytes = static_cast<std::size_t>(block.bytes);
#ifdef __linux__
  if (block.device.is_cpu() && bytes >= huge_page) {
    void* data = nullptr;
    TORCH_CHECK_WITH(OutOfMemoryError, posix_memalign(&data, huge_page, bytes) == 0, "clone: cannot allocate ", bytes,
                     " bytes");
    madvise(data, bytes, MADV_HUGEPAGE);
    return c10::Storage(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), block.bytes,
                                                              c10::DataPtr(data, data, &std::free, at::kCPU),
                                                              c10::GetCPUAllocator(), /*resizable=*/true));
  }
#endif
  return at::empty({block.bytes}, at::TensorOptions().dtype(at::kByte).device(block.device)).storage();
}

// By torch's own copy, which uses all threads.
c10::Storage fill_large(const Plan& plan, const Block& block) {
  const auto options = at::TensorOptions().dtype(at::kByte).device(block.device);
  at::Tensor source = at::empty({0}, options), target = at::empty({0}, options);
  source.set_(c10::Storage(c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(block.source)));
  c10::Storage result = allocate_large(block);
  target.set_(result);
  for (uint32_t i = block.first; i < block.first + block.count; ++i) {
    const Range& range = plan.ranges[i];
    target.slice(0, range.at, range.at + range.end - range.begin).copy_(source.slice(0, range.begin, range.end));
  }
  return result;
}

}  // namespace

std::vector<c10::Storage> fill(const Plan& plan, std::size_t n) {
  std::size_t expected = 0;
  for (const Block& block : plan.blocks) expected += is_packed(block) ? Packer::room(block.bytes) : 0;
  std::vector<c10::Storage> result;
  result.reserve(n * plan.blocks.size());
  for (std::size_t i = 0; i < n; ++i) {
    Packer packer(expected);
    for (const Block& block : plan.blocks) {
      fetch_ahead(plan, &block - plan.blocks.data());
      result.push_back(is_packed(block) ? fill_small(plan, block, packer) : fill_large(plan, block));
    }
  }
  return result;
}

}  // namespace ramet::core
