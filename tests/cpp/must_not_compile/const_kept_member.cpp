// error: ramet: a listed member is const, so that a clone cannot rebind it: drop the const
#include <ramet/ramet.h>

namespace const_kept_member {

struct NetImpl : torch::nn::Module {
#ifdef RAMET_VIOLATION
  const torch::Tensor table;
#else
  torch::Tensor table;
#endif
  using ramet_fields = ramet::fields<NetImpl, ramet::keep<&NetImpl::table>>;
};

}  // namespace const_kept_member

template struct ramet::enroll<const_kept_member::NetImpl>;
