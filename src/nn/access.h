/// Module's private dictionaries, by the friendship that it grants to every Cloneable.
#pragma once

#include <torch/nn/cloneable.h>

namespace ramet::detail {
struct Access;
}

/// Every specialisation of Cloneable is a friend of Module; this one only hands out references.
template <>
class torch::nn::Cloneable<ramet::detail::Access> {
 public:
  static auto& parameters(Module& module) { return module.parameters_; }
  static auto& buffers(Module& module) { return module.buffers_; }
  static auto& children(Module& module) { return module.children_; }
};

namespace ramet::detail {
using Dictionaries = torch::nn::Cloneable<Access>;
}
