// error: ramet: the class derives from torch::nn::Module virtually, or twice
#include <ramet/ramet.h>

namespace module_twice {

struct FirstImpl : torch::nn::Module {
  torch::Tensor scale;
  RAMET_MODULE(FirstImpl, scale)
};

#ifdef RAMET_VIOLATION
struct SecondImpl : torch::nn::Module {
#else
struct SecondImpl {
#endif
  torch::Tensor shift;
  using ramet_fields = ramet::fields<SecondImpl, &SecondImpl::shift>;
};

struct BothImpl : FirstImpl, SecondImpl {
  using ramet_fields = ramet::fields<BothImpl, ramet::base<FirstImpl>, ramet::base<SecondImpl>>;
};

}  // namespace module_twice

template struct ramet::enroll<module_twice::BothImpl>;
