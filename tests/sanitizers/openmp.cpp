/// Tells ThreadSanitizer what libgomp does, which is not instrumented: what the thread that opens a parallel region did
/// before comes before all of it, and all of it before what that thread does next. This definition comes before
/// libgomp's own, for libramet and torch too.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

namespace {

using Body = void (*)(void*);

struct Region {
  Body body;
  void* data;
};

void run(void* region) {
  __tsan_acquire(region);
  const auto [body, data] = *static_cast<Region*>(region);
  body(data);
  __tsan_release(region);
}

}  // namespace

extern "C" void GOMP_parallel(Body body, void* data, unsigned threads, unsigned flags) {
  static const auto real = reinterpret_cast<decltype(&GOMP_parallel)>(dlsym(RTLD_NEXT, "GOMP_parallel"));
  Region region{body, data};
  __tsan_release(&region);
  real(run, &region, threads, flags);
  __tsan_acquire(&region);
}
