// error: ramet: the elements of a set and the keys of a map cannot be rebound in place
#include <ramet/ramet.h>

namespace handles_as_keys {

struct NetImpl : torch::nn::Module {
#ifdef RAMET_VIOLATION
  std::map<torch::nn::Module*, torch::Tensor> cache;
#else
  std::map<int, std::pair<torch::nn::Module*, torch::Tensor> > cache;
#endif
  RAMET_MODULE(NetImpl, cache)
};

}  // namespace handles_as_keys
