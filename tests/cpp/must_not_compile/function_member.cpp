// error: ramet: a listed member is of a type that a clone cannot rebind: leave it out of the list
#include <ramet/ramet.h>

namespace function_member {

struct NetImpl : torch::nn::Module {
  torch::Tensor weight;
  std::function<torch::Tensor(torch::Tensor)> activation;
#ifdef RAMET_VIOLATION
  RAMET_MODULE(NetImpl, weight, activation)
#else
  RAMET_MODULE(NetImpl, weight)
#endif
};

}  // namespace function_member
