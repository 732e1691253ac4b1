// error: ramet: a listed member is of a type that a clone cannot rebind: leave it out of the list
#include <ramet/ramet.h>

namespace boxed_value {

struct NetImpl : torch::nn::Module {
#ifdef RAMET_VIOLATION
  std::optional<c10::IValue> boxed;
#else
  std::optional<std::variant<int64_t, torch::Tensor> > boxed;
#endif
  RAMET_MODULE(NetImpl, boxed)
};

}  // namespace boxed_value
