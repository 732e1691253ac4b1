// error: ramet: no member list: write RAMET_MODULE(Class, members...)
#include <ramet/ramet.h>

namespace no_list {

struct VendorImpl : torch::nn::Module {
  torch::Tensor weight;
};

}  // namespace no_list

#ifndef RAMET_VIOLATION
template <>
struct ramet::describe<no_list::VendorImpl> : ramet::fields<no_list::VendorImpl, &no_list::VendorImpl::weight> {};
#endif
template struct ramet::enroll<no_list::VendorImpl>;
