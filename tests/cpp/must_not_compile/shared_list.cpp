// error: ramet: a listed member is of a type that a clone cannot rebind: leave it out of the list
#include <ramet/ramet.h>

namespace shared_list {

struct NetImpl : torch::nn::Module {
#ifdef RAMET_VIOLATION
  c10::List<int64_t> sizes;  // all of its copies are one list
#else
  std::vector<int64_t> sizes;
#endif
  RAMET_MODULE(NetImpl, sizes)
};

}  // namespace shared_list
