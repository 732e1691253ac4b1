// error: ramet: ramet::base names a class that has no list and is no module: give it a list by ramet::fields
#include <ramet/ramet.h>

namespace base_without_a_list {

struct Cache {
  torch::Tensor cached;
#ifndef RAMET_VIOLATION
  using ramet_fields = ramet::fields<Cache, &Cache::cached>;
#endif
};

struct NetImpl : torch::nn::Module, Cache {
  using ramet_fields = ramet::fields<NetImpl, ramet::base<Cache>>;
};

}  // namespace base_without_a_list

template struct ramet::enroll<base_without_a_list::NetImpl>;
