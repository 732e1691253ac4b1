// error: ramet: a listed member is const, so that a clone cannot rebind it: drop the const
#include <ramet/ramet.h>
#include <torch/nn/modules/linear.h>

namespace const_member {

struct NetImpl : torch::nn::Module {
#ifdef RAMET_VIOLATION
  const torch::nn::Linear fc{nullptr};
#else
  torch::nn::Linear fc{nullptr};
#endif
  const std::array<int, 2> sizes{};  // a plain value is not rebound
  RAMET_MODULE(NetImpl, fc, sizes)
};

}  // namespace const_member
