// error: ramet: the member list is that of a base class
#include <ramet/ramet.h>

namespace inherited_list_of_a_base {

struct FirstImpl : torch::nn::Module {
  torch::Tensor scale;
  RAMET_MODULE(FirstImpl, scale)
};

struct SecondImpl : FirstImpl {
  torch::Tensor shift;
#ifndef RAMET_VIOLATION
  using ramet_fields = ramet::fields<SecondImpl, ramet::base<FirstImpl>, &SecondImpl::shift>;
#endif
};

struct ThirdImpl : SecondImpl {
  using ramet_fields = ramet::fields<ThirdImpl, ramet::base<SecondImpl>>;
};

}  // namespace inherited_list_of_a_base

template struct ramet::enroll<inherited_list_of_a_base::ThirdImpl>;
