// error: reference
#include <ramet/ramet.h>

namespace reference_member {

struct NetImpl : torch::nn::Module {
  explicit NetImpl(torch::nn::Module& peer) : peer(peer) {}
#ifdef RAMET_VIOLATION
  torch::nn::Module& peer;
#else
  std::reference_wrapper<torch::nn::Module> peer;
#endif
  RAMET_MODULE(NetImpl, peer)
};

}  // namespace reference_member
