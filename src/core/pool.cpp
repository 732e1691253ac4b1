/// A cache of freed mappings: best fit, oldest out first when the limit is reached. On Linux the older ones are marked
/// so that the kernel may take their pages without writing them anywhere. Elsewhere, and where RAMET_PLAIN_MEMORY is
/// defined, what is cached are plain allocations. With a limit of 0 all memory is the heap's.
#include "core/pool.h"

#include <c10/util/Exception.h>
#include <ramet/memory.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <new>

#if defined(__linux__) && !defined(RAMET_PLAIN_MEMORY)
#define RAMET_MAPPED_MEMORY
#include <sys/mman.h>
#include <unistd.h>
#endif
#if __has_include(<pthread.h>)
#define RAMET_FORKS
#include <pthread.h>
#endif

namespace ramet::core {
namespace {

constexpr std::size_t huge_page = std::size_t{2} << 20, alignment = 64;

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

/// Smaller pieces come from the heap: the page faults saved would not pay for the system calls.
constexpr std::size_t smallest_mapping = std::size_t{256} << 10;

/// So many bytes of what was freed last are not given to the kernel to take. Telling it interrupts the other
/// processors, once a piece: half as long as the copy, where a clone is dropped for each that is made.
constexpr std::size_t most_hot = std::size_t{256} << 20;

void* from_heap(std::size_t bytes) { return ::operator new (bytes, std::align_val_t{alignment}, std::nothrow); }
void to_heap(void* memory) { ::operator delete (memory, std::align_val_t{alignment}); }

#ifdef RAMET_MAPPED_MEMORY

/// The kernel maps whole pages: 4 KiB on x86-64, up to 64 KiB elsewhere.
std::size_t page_size() {
  static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGE_SIZE));
  return bytes;
}

void* map(std::size_t bytes) {
  const std::size_t align = bytes >= huge_page ? huge_page : page_size();
  void* raw = mmap(nullptr, bytes + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  // Only the part that starts at a huge page is kept; what ends within one gets small pages there, and no more.
  auto* const from = static_cast<char*>(raw);
  const auto address = reinterpret_cast<std::uintptr_t>(from);
  auto* const begin = from + (round_up(address, align) - address);
  if (begin != from) munmap(from, begin - from);
  if (begin != from + align) munmap(begin + bytes, from + align - begin);
  if (bytes >= huge_page) madvise(begin, bytes, MADV_HUGEPAGE);
  return begin;
}

void unmap(void* memory, std::size_t bytes) { munmap(memory, bytes); }

void may_be_taken(void* memory, std::size_t bytes) { madvise(memory, bytes, MADV_FREE); }

std::size_t machine_memory() { return static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * page_size(); }

#else

std::size_t page_size() { return 4096; }
void* map(std::size_t bytes) { return from_heap(bytes); }
void unmap(void* memory, std::size_t) { to_heap(memory); }
void may_be_taken(void*, std::size_t) {}
std::size_t machine_memory() { return std::size_t{8} << 30; }

#endif

std::size_t first_limit() {
  if (const char* text = std::getenv("RAMET_MEMORY_LIMIT")) {
    std::size_t limit = 0;
    const auto [end, error] = std::from_chars(text, text + std::strlen(text), limit);
    if (error == std::errc() && *end == '\0' && end != text) return limit;
    TORCH_WARN("RAMET_MEMORY_LIMIT is a number of bytes, not '", text, "'; the default limit applies");
  }
  return std::min(std::size_t{1} << 30, machine_memory() / 8);
}

/// A mapping has whole pages; a piece of the heap never does.
bool is_heaps(std::size_t bytes) { return bytes % page_size() != 0; }

Piece heap_piece(std::size_t bytes) { return {from_heap(bytes | 1), bytes | 1, false}; }

void check(const Piece& made, std::size_t bytes) {
  TORCH_CHECK_WITH(OutOfMemoryError, made.memory != nullptr, "clone: cannot allocate ", bytes, " bytes");
}

class Pool {
 public:
  Pool() : limit_(first_limit()) {}

  Piece acquire(std::size_t bytes) {
    const std::size_t whole = round_up(bytes, page_size());
    bool off = false;
    {
      const std::scoped_lock lock(mutex);
      off = limit_ == 0;
      const auto fits = by_size_.lower_bound(whole);
      if (fits != by_size_.end() && fits->first <= most_for(whole)) {
        const auto latest = std::prev(by_size_.upper_bound(fits->first));
        const Freed freed = *latest->second;
        drop(latest->second);
        in_use_ += freed.bytes;
        ++reused_;
        return {freed.memory, freed.bytes, true};
      }
    }
    Piece made = off ? heap_piece(bytes) : Piece{map(whole), whole, false};
    if (made.memory == nullptr && !off) {
      empty_cache();
      made.memory = map(whole);
    }
    check(made, bytes);
    const std::scoped_lock lock(mutex);
    in_use_ += made.bytes;
    ++mapped_;
    return made;
  }

  void release(void* memory, std::size_t bytes) {
    const std::scoped_lock lock(mutex);
    in_use_ -= bytes;
    if (is_heaps(bytes)) return to_heap(memory);
    if (bytes > limit_) return unmap(memory, bytes);
    shrink_to(limit_ - bytes);
    try {
      freed_.push_back({memory, bytes, {}, true});
    } catch (const std::bad_alloc&) {
      return unmap(memory, bytes);
    }
    try {
      freed_.back().place = by_size_.emplace(bytes, std::prev(freed_.end()));
    } catch (const std::bad_alloc&) {
      freed_.pop_back();
      return unmap(memory, bytes);
    }
    cached_ += bytes;
    if (first_hot_ == freed_.end()) first_hot_ = std::prev(freed_.end());
    for (hot_ += bytes; hot_ > most_hot; ++first_hot_) {
      hot_ -= first_hot_->bytes;
      first_hot_->hot = false;
      may_be_taken(first_hot_->memory, first_hot_->bytes);
    }
  }

  void empty_cache() {
    const std::scoped_lock lock(mutex);
    shrink_to(0);
  }

  std::size_t set_limit(std::size_t bytes) {
    const std::scoped_lock lock(mutex);
    shrink_to(bytes);
    return std::exchange(limit_, bytes);
  }

  memory::Stats stats() {
    const std::scoped_lock lock(mutex);
    const auto number = [](std::size_t n) { return static_cast<int64_t>(n); };
    return {number(in_use_), number(cached_), number(limit_), number(mapped_), number(reused_)};
  }

  std::mutex mutex;

 private:
  struct Freed;
  using Order = std::list<Freed>;
  using BySize = std::multimap<std::size_t, Order::iterator>;
  struct Freed {
    void* memory;
    std::size_t bytes;
    BySize::iterator place;
    bool hot;  ///< The kernel may not take it yet.
  };

  /// What a piece of `bytes` may have at most: a larger one would hold memory that nothing uses.
  static std::size_t most_for(std::size_t bytes) {
    const std::size_t most = bytes + bytes / 8 + (bytes >= huge_page ? huge_page : 0);
    return bytes <= largest_packed ? std::min(most, largest_packed) : most;
  }

  void drop(Order::iterator freed) {
    cached_ -= freed->bytes;
    if (freed->hot) hot_ -= freed->bytes;
    if (freed == first_hot_) ++first_hot_;
    by_size_.erase(freed->place);
    freed_.erase(freed);
  }

  void shrink_to(std::size_t bytes) {
    while (cached_ > bytes) {
      const auto oldest = freed_.begin();
      unmap(oldest->memory, oldest->bytes);
      drop(oldest);
    }
  }

  Order freed_;                               // oldest first
  Order::iterator first_hot_ = freed_.end();  // and all that follow
  BySize by_size_;
  std::size_t limit_, in_use_ = 0, cached_ = 0, hot_ = 0, mapped_ = 0, reused_ = 0;
};

/// Never destroyed: tensors may be freed after any static object.
Pool& pool() {
  static Pool* const instance = [] {
    auto* made = new Pool;
#ifdef RAMET_FORKS
    // A child must not inherit the lock from a thread that it lacks.
    pthread_atfork([] { pool().mutex.lock(); }, [] { pool().mutex.unlock(); }, [] { pool().mutex.unlock(); });
#endif
    return made;
  }();
  return *instance;
}

}  // namespace

Piece acquire(std::size_t bytes) {
  if (bytes >= smallest_mapping) return pool().acquire(bytes);
  const Piece made = heap_piece(bytes);
  check(made, bytes);
  return made;
}

void release(void* memory, std::size_t bytes) noexcept {
  if (bytes >= smallest_mapping) {
    pool().release(memory, bytes);
  } else {
    to_heap(memory);
  }
}

}  // namespace ramet::core

namespace ramet::memory {

Stats stats() { return core::pool().stats(); }

int64_t set_limit(int64_t bytes) {
  TORCH_CHECK_VALUE(bytes >= 0, "set_limit: a limit is a number of bytes, zero or more, not ", bytes);
  return static_cast<int64_t>(core::pool().set_limit(static_cast<std::size_t>(bytes)));
}

void empty_cache() { core::pool().empty_cache(); }

}  // namespace ramet::memory
