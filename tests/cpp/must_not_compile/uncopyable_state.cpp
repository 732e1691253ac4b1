// error: ramet: a shared_ptr member's type cannot be copied
#include <ramet/ramet.h>

#include <mutex>

namespace uncopyable_state {

struct NetImpl : torch::nn::Module {
  std::vector<std::shared_ptr<std::mutex>> locks;
#ifdef RAMET_VIOLATION
  RAMET_MODULE(NetImpl, locks)
#else
  using ramet_fields = ramet::fields<NetImpl, ramet::keep<&NetImpl::locks>>;
#endif
};

}  // namespace uncopyable_state

template struct ramet::enroll<uncopyable_state::NetImpl>;
