// error: ramet: only classes derived from torch::nn::Module are enrolled
#include <ramet/ramet.h>

namespace not_a_module {

struct Pair
#ifndef RAMET_VIOLATION
    : torch::nn::Module
#endif
{
  torch::Tensor key, value;
  RAMET_MODULE(Pair, key, value)
};

}  // namespace not_a_module
