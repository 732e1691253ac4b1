// error: ramet: a listed member is of a type that a clone cannot rebind: leave it out of the list
#include <ramet/ramet.h>

namespace pointer_to_a_tensor {

struct NetImpl : torch::nn::Module {
#ifdef RAMET_VIOLATION
  std::array<torch::Tensor*, 2> last{};
#else
  std::array<torch::nn::Module*, 2> last{};
#endif
  RAMET_MODULE(NetImpl, last)
};

}  // namespace pointer_to_a_tensor
