// error: ramet: a listed member is of a type that a clone cannot rebind: leave it out of the list
#include <ramet/ramet.h>

namespace reference_to_a_tensor {

struct NetImpl : torch::nn::Module {
  torch::Tensor weight;
#ifdef RAMET_VIOLATION
  std::reference_wrapper<torch::Tensor> again = weight;
  RAMET_MODULE(NetImpl, weight, again)
#else
  torch::Tensor again = weight;
  RAMET_MODULE(NetImpl, weight, again)
#endif
};

}  // namespace reference_to_a_tensor
