/// What is cloned: models of LibTorch's own modules, from bytes to modules.
#pragma once

#include <torch/torch.h>

namespace ramet::bench {

torch::nn::Transformer transformer();

/// The layers of a residual network without its additions: what a clone takes does not depend on forward.
torch::nn::Sequential convnet();

/// Two small tensors a module.
torch::nn::Sequential tiny_layers(int modules);

/// Tensors of 256 bytes in one module.
torch::nn::ParameterList tiny_tensors(int tensors);

/// Eight layers without biases.
torch::nn::Sequential of_bytes(int64_t bytes);

std::size_t bytes_of(const torch::nn::Module& model);

}  // namespace ramet::bench
