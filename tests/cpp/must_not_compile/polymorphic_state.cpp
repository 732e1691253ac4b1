// error: ramet: a shared_ptr member's type is polymorphic, so that copying it could slice it
#include <ramet/ramet.h>

namespace polymorphic_state {

#ifdef RAMET_VIOLATION
struct State {
#else
struct State final {
#endif
  virtual ~State() = default;
};

struct NetImpl : torch::nn::Module {
  std::shared_ptr<State> state;
  RAMET_MODULE(NetImpl, state)
};

}  // namespace polymorphic_state
