// error: ramet: a listed member is of a type that a clone cannot rebind: leave it out of the list
#include <ramet/ramet.h>

namespace via_something_unknown {

struct Options {
  torch::Tensor weight;
};

struct NetImpl : torch::nn::Module {
  Options options;
#ifdef RAMET_VIOLATION
  using ramet_fields = ramet::fields < NetImpl, ramet::via < "options", [](auto& net) -> auto& { return net.options; }
  >> ;
#else
  using ramet_fields = ramet::fields < NetImpl, ramet::via < "options.weight", [](auto& net) -> auto& {
    return net.options.weight;
  }
  >> ;
#endif
};

}  // namespace via_something_unknown

template struct ramet::enroll<via_something_unknown::NetImpl>;
