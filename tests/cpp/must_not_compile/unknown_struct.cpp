// error: ramet: a listed member is of a type that a clone cannot rebind: leave it out of the list
#include <ramet/ramet.h>

namespace unknown_struct {

struct Pair {
  torch::Tensor key, value;
#ifndef RAMET_VIOLATION
  using ramet_fields = ramet::fields<Pair, &Pair::key, &Pair::value>;
#endif
};

struct NetImpl : torch::nn::Module {
  std::map<std::string, std::tuple<torch::Tensor, std::vector<Pair>>> table;
  RAMET_MODULE(NetImpl, table)
};

}  // namespace unknown_struct
