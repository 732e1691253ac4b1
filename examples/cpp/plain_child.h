/// A child that is a plain `torch::nn::Module`: without `Cloneable` and `reset()`, which Ramet does not need.
#pragma once

#include <ramet/ramet.h>
#include <torch/torch.h>

struct ScaleImpl : torch::nn::Module {
  ScaleImpl() : value(register_parameter("value", torch::ones({2}))) {}
  torch::Tensor forward(const torch::Tensor& x) { return x * value; }

  torch::Tensor value;
  RAMET_MODULE(ScaleImpl, value)
};
TORCH_MODULE(Scale);

/// Its owner is Cloneable, so that Module::clone() can be called on it at all.
struct ScaledImpl : torch::nn::Cloneable<ScaledImpl> {
  explicit ScaledImpl(const torch::Tensor& value) {
    reset();
    const torch::NoGradGuard no_grad;
    scale->value.copy_(value);
  }
  void reset() override { scale = register_module("scale", Scale()); }
  torch::Tensor forward(const torch::Tensor& x) { return scale(x); }

  Scale scale{nullptr};
  RAMET_MODULE(ScaledImpl, scale)
};
TORCH_MODULE(Scaled);
