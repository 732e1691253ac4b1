// error: ramet: the member list is that of a base class
#include <ramet/ramet.h>

namespace inherited_list {

struct BaseImpl : torch::nn::Module {
  torch::Tensor scale;
  RAMET_MODULE(BaseImpl, scale)
};

struct DerivedImpl : BaseImpl {
  torch::Tensor shift;
#ifndef RAMET_VIOLATION
  using ramet_fields = ramet::fields<DerivedImpl, ramet::base<BaseImpl>, &DerivedImpl::shift>;
#endif
};

}  // namespace inherited_list

template struct ramet::enroll<inherited_list::DerivedImpl>;
