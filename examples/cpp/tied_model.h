/// A small language model whose head uses the embedding's weight, as GPT-2's does.
#pragma once

#include <ramet/ramet.h>
#include <torch/torch.h>

/// The projection onto the vocabulary: a parameter that belongs to the embedding too.
struct TiedHeadImpl : torch::nn::Cloneable<TiedHeadImpl> {
  explicit TiedHeadImpl(torch::Tensor embedding) : weight(std::move(embedding)) { reset(); }
  void reset() override { register_parameter("weight", weight); }
  torch::Tensor forward(const torch::Tensor& x) { return torch::linear(x, weight); }

  torch::Tensor weight;
  RAMET_MODULE(TiedHeadImpl, weight)
};
TORCH_MODULE(TiedHead);

struct TiedModelImpl : torch::nn::Cloneable<TiedModelImpl> {
  TiedModelImpl(int64_t vocabulary, int64_t width) : vocabulary_(vocabulary), width_(width) { reset(); }
  void reset() override {
    embed = register_module("embed", torch::nn::Embedding(vocabulary_, width_));
    body = register_module("body", torch::nn::Linear(torch::nn::LinearOptions(width_, width_).bias(false)));
    norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width_})));
    head = register_module("head", TiedHead(embed->weight));
  }
  torch::Tensor forward(const torch::Tensor& ids) { return head(norm(torch::relu(body(embed(ids))))); }

  torch::nn::Embedding embed{nullptr};
  torch::nn::Linear body{nullptr};
  torch::nn::LayerNorm norm{nullptr};
  TiedHead head{nullptr};
  RAMET_MODULE(TiedModelImpl, embed, body, norm, head)

 private:
  int64_t vocabulary_, width_;
};
TORCH_MODULE(TiedModel);
