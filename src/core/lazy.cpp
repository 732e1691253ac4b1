/// A storage's DataPtr refers to what it shares; its deleter marks it as lazy. The data pointer itself is not touched
/// when a storage becomes lazy, since other threads may be reading through it.
#include "core/lazy.h"

#include <ATen/Parallel.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/COW.h>
#include <ramet/memory.h>

#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <typeinfo>

#include "core/copies.h"
#include "core/slices.h"

#if __has_include(<pthread.h>)
#define RAMET_FORKS
#include <pthread.h>
#endif

// Before torch 2.13 there is no such header. Defined to 1, it builds what those versions get.
#if !defined(RAMET_COW_BY_TORCH) && !__has_include(<c10/core/StorageMaterializer.h>)
#define RAMET_COW_BY_TORCH 1
#endif

namespace ramet::core {
namespace {

/// A storage's state is looked at and changed under one of several locks, by its address: workers of one parallel loop
/// may be the first to write to it together. Never destroyed: tensors may be written after any static object is gone.
class Locks {
 public:
  static std::mutex& of(const c10::StorageImpl& storage) {
    static Locks* const all = make();
    return all->locks_[reinterpret_cast<std::uintptr_t>(&storage) / sizeof(c10::StorageImpl) % count];
  }

 private:
  static constexpr std::size_t count = 32;  // a thread that forks holds all: ThreadSanitizer lets it hold 64

  static Locks* make() {
    static Locks* made = nullptr;
    made = new Locks;
#ifdef RAMET_FORKS
    // A child must not inherit a lock from a thread that it lacks. What is registered last is taken first, and the
    // pool's lock is taken by holders of these.
    memory::stats();
    static const auto unlock = [] {
      for (std::mutex& lock : made->locks_) lock.unlock();
    };
    pthread_atfork(
        [] {
          for (std::mutex& lock : made->locks_) lock.lock();
        },
        [] { unlock(); }, [] { unlock(); });
#endif
    return made;
  }

  std::array<std::mutex, count> locks_;
};

/// Whether the memory is nothing but what one of the known allocators gave.
bool is_known(const c10::DataPtr& memory) {
  if (memory.get() == nullptr || memory.get_context() != memory.get()) return false;
  const auto is_from = [&](const c10::Allocator* allocator) {
    return memory.get_deleter() == allocator->raw_deleter();
  };
  return memory.get_deleter() == slice_deleter() || is_from(c10::GetCPUAllocator()) ||
         is_from(c10::GetDefaultCPUAllocator());
}

#if RAMET_COW_BY_TORCH

const void* shared_by(const c10::DataPtr& memory) {
  return c10::impl::cow::is_cow_data_ptr(memory) ? memory.get() : nullptr;
}

bool is_plain(const c10::StorageImpl&) { return true; }

c10::intrusive_ptr<c10::StorageImpl> share(c10::StorageImpl& source) {
  return c10::impl::cow::lazy_clone_storage(source);
}

#else

using Context = std::unique_ptr<void, c10::DeleterFnPtr>;

/// Memory that several storages hold.
struct Shared {
  std::atomic<uint32_t> storages{1};
  std::size_t bytes = 0;
  Context owner{nullptr, nullptr};

  static void leave(void* shared) {
    auto* it = static_cast<Shared*>(shared);
    if (it->storages.fetch_sub(1, std::memory_order_acq_rel) == 1) delete it;
  }
};

Shared* shared_by(const c10::DataPtr& memory) { return memory.cast_context<Shared>(&Shared::leave); }

/// A materializer that is not ours, or that a storage still has after its memory was replaced.
bool is_plain(const c10::StorageImpl& storage) { return !storage.has_materializer(); }

/// The last one keeps the memory, unless that is one of many slices of a chunk: those keep all of it.
bool keeps_memory(const Shared& shared, const c10::DataPtr& memory) {
  if (shared.storages.load(std::memory_order_acquire) > 1) return false;
  return shared.owner.get_deleter() != slice_deleter() || !has_neighbours(memory.get());
}

/// By all threads, unless those are a pool of torch's, of which some may be waiting for the lock that is held here.
void copy(Slice& to, const void* from, std::size_t bytes) {
#if AT_PARALLEL_OPENMP
  Copies copies;
  copies.add(static_cast<char*>(to.memory.get()), static_cast<const char*>(from), bytes, to.warm);
  copies.run();
#else
  std::memcpy(to.memory.get(), from, bytes);
#endif
}

/// What torch calls before the first write; it forgets the materializer afterwards, unless this throws. Where the
/// memory is no longer shared, another thread has been here, or torch has replaced it.
void materialize(c10::StorageImpl* storage) {
  const std::scoped_lock lock(Locks::of(*storage));
  c10::DataPtr& memory = storage->_mutable_data_ptr_no_checks();
  Shared* const shared = shared_by(memory);
  if (shared == nullptr) return;
  if (keeps_memory(*shared, memory)) {
    Context&& context = memory.move_context();
    static_cast<void>(context.release());
    context = std::move(shared->owner);
    delete shared;
    return;
  }
  Slice own = cut_alone(shared->bytes);
  copy(own, memory.get(), shared->bytes);
  storage->set_data_ptr_noswap(std::move(own.memory));
}

c10::intrusive_ptr<c10::StorageImpl> share(c10::StorageImpl& source) {
  c10::DataPtr& memory = source._mutable_data_ptr_no_checks();
  if (shared_by(memory) == nullptr) {
    auto made = std::make_unique<Shared>();
    made->bytes = source.nbytes();
    Context&& context = memory.move_context();
    made->owner = std::move(context);
    context = Context(made.release(), &Shared::leave);
    source.set_materializer(&materialize);
  }
  Shared* const shared = shared_by(memory);
  shared->storages.fetch_add(1, std::memory_order_relaxed);
  c10::DataPtr same(memory.get(), shared, &Shared::leave, at::kCPU);
  auto result = c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), source.nbytes(),
                                                      std::move(same), c10::GetCPUAllocator(), /*resizable=*/true);
  result->set_materializer(&materialize);
  return result;
}

#endif

bool accepts(c10::StorageImpl& storage) {
  if (typeid(storage) != typeid(c10::StorageImpl) || !storage.device().is_cpu()) return false;
  const c10::DataPtr& memory = storage._mutable_data_ptr_no_checks();
  return shared_by(memory) != nullptr || (is_plain(storage) && is_known(memory));
}

}  // namespace

bool can_be_lazy(c10::StorageImpl& storage) {
  const std::scoped_lock lock(Locks::of(storage));
  return accepts(storage);
}

c10::Storage lazy_clone(c10::StorageImpl& source) {
  const std::scoped_lock lock(Locks::of(source));
  TORCH_CHECK(accepts(source), "clone: the source was written to while it was cloned; let one wait for the other");
  return c10::Storage(share(source));
}

bool are_lazy(c10::StorageImpl& a, c10::StorageImpl& b) {
  const auto shared = [](c10::StorageImpl& storage) -> const void* {
    const std::scoped_lock lock(Locks::of(storage));
    return shared_by(storage._mutable_data_ptr_no_checks());
  };
  const void* const memory = &a == &b ? nullptr : shared(a);
  return memory != nullptr && memory == shared(b);
}

}  // namespace ramet::core
