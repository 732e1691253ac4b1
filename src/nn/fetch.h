/// Asks the processor for modules ahead of their use; see core/fetch.h.
#pragma once

#include "core/fetch.h"
#include "nn/access.h"

namespace ramet::nn {

/// For a loop over nodes that is at `node`: asks for what its next modules (`module_at`, null for what is none) are,
/// for what the dictionaries hold of those that have been asked for, and for the tensors in those.
template <class ModuleAt>
void fetch_ahead(core::NodeId node, const ModuleAt& module_at) {
  using detail::Dictionaries;
  constexpr std::size_t lines = sizeof(torch::nn::Module) / 64 + 2;  // with the first members
  if (const torch::nn::Module* module = module_at(node + 6)) core::fetch_lines<lines>(module);
  if (torch::nn::Module* module = module_at(node + 4)) {
    const auto fetch_items = [](auto& dictionary) {
      if (!dictionary.is_empty()) core::fetch_lines<2>(&*dictionary.begin());
    };
    fetch_items(Dictionaries::parameters(*module));
    fetch_items(Dictionaries::buffers(*module));
  }
  if (torch::nn::Module* module = module_at(node + 2)) {
    for (auto& item : Dictionaries::parameters(*module)) core::fetch_lines<1>(item.value().unsafeGetTensorImpl());
    for (auto& item : Dictionaries::buffers(*module)) core::fetch_lines<1>(item.value().unsafeGetTensorImpl());
  }
}

}  // namespace ramet::nn
