// error: ramet: the elements of a set and the keys of a map cannot be rebound in place
#include <ramet/ramet.h>

namespace handles_in_a_set {

struct NetImpl : torch::nn::Module {
#ifdef RAMET_VIOLATION
  std::vector<std::set<std::shared_ptr<torch::nn::Module>>> peers;
#else
  std::vector<std::vector<std::shared_ptr<torch::nn::Module>>> peers;
#endif
  std::unordered_set<std::string> names;  // plain values
  RAMET_MODULE(NetImpl, peers, names)
};

}  // namespace handles_in_a_set
