// error: ramet: a listed member is of a type that a clone cannot rebind: leave it out of the list
#include <ramet/ramet.h>

namespace module_by_value {

struct PartImpl : torch::nn::Module {
  torch::Tensor weight;
  RAMET_MODULE(PartImpl, weight)
};

struct NetImpl : torch::nn::Module {
#ifdef RAMET_VIOLATION
  PartImpl part;
#else
  std::shared_ptr<PartImpl> part;
#endif
  RAMET_MODULE(NetImpl, part)
};

}  // namespace module_by_value
