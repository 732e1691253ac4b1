// error: ramet: the class has no copy constructor, by which a clone copies plain members
#include <ramet/ramet.h>

namespace no_copy_constructor {

struct NetImpl : torch::nn::Module {
  torch::Tensor weight;
#ifdef RAMET_VIOLATION
  std::unique_ptr<int> depth;
#else
  std::optional<int> depth;
#endif
  RAMET_MODULE(NetImpl, weight)
};

}  // namespace no_copy_constructor
