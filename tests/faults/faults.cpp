/// Stands before the C and C++ libraries in a program: linked first, or by LD_PRELOAD.
#include "faults.h"

#include <cerrno>
#include <cstdlib>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// Reached without allocating, from whatever library.
__attribute__((tls_model("initial-exec"))) thread_local long left = -1;
__attribute__((tls_model("initial-exec"))) thread_local bool failed = false;

bool fails() {
  if (left < 0) return false;
  failed = left-- == 0;
  return failed;
}

void* aligned(std::size_t size, std::size_t alignment) {
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

void* or_throw(void* made) {
  if (made == nullptr) throw std::bad_alloc();
  return made;
}

}  // namespace

void ramet_fail_at(long k) { left = k, failed = false; }
bool ramet_failed() { return left = -1, failed; }

void* operator new(std::size_t size) { return or_throw(fails() ? nullptr : std::malloc(size)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return fails() ? nullptr : std::malloc(size); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return or_throw(fails() ? nullptr : aligned(size, static_cast<std::size_t>(alignment)));
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return fails() ? nullptr : aligned(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

extern "C" int posix_memalign(void** result, std::size_t alignment, std::size_t size) noexcept {
  if (fails()) return ENOMEM;
  *result = aligned(size, alignment);
  return *result == nullptr ? ENOMEM : 0;
}

#ifdef __linux__
extern "C" void* mmap(void* address, std::size_t size, int protection, int flags, int file, off_t offset) noexcept {
  if (fails()) return errno = ENOMEM, MAP_FAILED;
  return reinterpret_cast<void*>(syscall(SYS_mmap, address, size, protection, flags, file, offset));
}
#endif
