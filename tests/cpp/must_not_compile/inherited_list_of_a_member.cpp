// error: ramet: the member list is that of a base class
#include <ramet/ramet.h>

namespace inherited_list_of_a_member {

struct Pair {
  torch::Tensor key, value;
  using ramet_fields = ramet::fields<Pair, &Pair::key, &Pair::value>;
};

struct Triple : Pair {
  torch::Tensor third;
#ifndef RAMET_VIOLATION
  using ramet_fields = ramet::fields<Triple, ramet::base<Pair>, &Triple::third>;
#endif
};

struct NetImpl : torch::nn::Module {
  std::vector<Triple> triples;
  RAMET_MODULE(NetImpl, triples)
};

}  // namespace inherited_list_of_a_member
