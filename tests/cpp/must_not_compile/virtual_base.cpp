// error: ramet: the class derives from torch::nn::Module virtually, or twice
#include <ramet/ramet.h>

namespace virtual_base {

#ifdef RAMET_VIOLATION
struct BaseImpl : virtual torch::nn::Module {
#else
struct BaseImpl : torch::nn::Module {
#endif
  torch::Tensor scale;
  RAMET_MODULE(BaseImpl, scale)
};

}  // namespace virtual_base
