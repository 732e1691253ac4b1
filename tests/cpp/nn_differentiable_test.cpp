/// differentiable in the torch::nn front: values linked to the source's, steps by assign, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/optimizers.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include "plan_error.h"

namespace {

using ramet::CloneOptions;
using ramet::plan_error;
using testing::StrEq;
using torch::Tensor;

struct TiedImpl : torch::nn::Module {
  TiedImpl() : embed(6, 4), norm(4) {
    register_module("embed", embed);
    register_module("norm", norm);
    head = register_parameter("head", embed->weight);
  }
  Tensor forward(const Tensor& tokens) { return norm(embed(tokens)).tanh().matmul(head.t()); }

  torch::nn::Embedding embed;
  torch::nn::BatchNorm1d norm;
  Tensor head;
  RAMET_MODULE(TiedImpl, embed, norm, head)
};
TORCH_MODULE(Tied);

Tensor tokens() { return torch::tensor({1, 2, 5}); }

std::vector<Tensor> grads_of(const torch::nn::Module& module) {
  std::vector<Tensor> result;
  for (const Tensor& parameter : module.parameters()) result.push_back(parameter.grad());
  return result;
}

/// Each once, in the order in which `assign` takes them: LibTorch has a tied one several times.
std::vector<Tensor> weights_of(const torch::nn::Module& module) {
  std::vector<Tensor> result;
  for (const Tensor& parameter : module.parameters()) {
    const auto same = [&](const Tensor& other) { return other.is_same(parameter); };
    if (std::none_of(result.begin(), result.end(), same)) result.push_back(parameter);
  }
  return result;
}

std::vector<Tensor> stepped(const Tensor& loss, const std::vector<Tensor>& weights) {
  const auto grads = torch::autograd::grad({loss}, weights, {}, /*retain_graph=*/true, /*create_graph=*/true);
  std::vector<Tensor> result;
  for (std::size_t i = 0; i < weights.size(); ++i) result.push_back(weights[i] - 0.3 * grads[i]);
  return result;
}

TEST(DifferentiableNnTest, ValuesAreCopiesThatAutogradKnowsWhereFrom) {
  Tied model, fast = ramet::clone(model, CloneOptions().differentiable(true));
  EXPECT_TRUE(fast->head.is_same(fast->embed->weight));
  EXPECT_TRUE(fast->head.is_same(fast->named_parameters()["head"]));
  EXPECT_TRUE(fast->head.equal(model->head));
  for (const Tensor& parameter : fast->parameters()) {
    EXPECT_FALSE(parameter.is_leaf());
    EXPECT_EQ(parameter.grad_fn()->name(), "RametCloneBackward");
  }
  EXPECT_EQ(fast->head.grad_fn(), fast->norm->bias.grad_fn());
  EXPECT_FALSE(fast->norm->running_mean.requires_grad());
  const torch::NoGradGuard no_grad;
  fast->norm->bias.fill_(3);
  EXPECT_EQ(model->norm->bias.sum().item<float>(), 0);
  model->norm->weight.fill_(4);
  EXPECT_EQ(fast->norm->weight.sum().item<float>(), 4);
}

TEST(DifferentiableNnTest, GradientsFlowToTheSourceThoseOfATiedTensorAddedOnce) {
  Tied model, fast = ramet::clone(model, CloneOptions().differentiable(true));
  fast->forward(tokens()).square().sum().backward();
  const std::vector<Tensor> got = grads_of(*model);
  model->zero_grad();
  ramet::clone(model, CloneOptions().share(ramet::parameters))->forward(tokens()).square().sum().backward();
  const std::vector<Tensor> expected = grads_of(*model);
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(torch::allclose(got[i], expected[i]));
}

TEST(DifferentiableNnTest, StepsByAssignAreThoseOnTheSourceItself) {
  Tied model;
  model->eval();
  Tied fast = ramet::clone(model, CloneOptions().differentiable(ramet::parameters));
  for (int i = 0; i < 2; ++i) {
    ramet::assign(fast, stepped(fast->forward(tokens()).square().mean(), weights_of(*fast)));
    EXPECT_TRUE(fast->head.is_same(fast->embed->weight));
  }
  fast->forward(tokens()).cos().sum().backward();
  const std::vector<Tensor> got = grads_of(*model);
  model->zero_grad();
  std::vector<Tensor> weights = weights_of(*model);  // head, norm.weight, norm.bias
  ASSERT_EQ(weights.size(), 3u);
  const auto all = [&](const std::vector<Tensor>& w) {
    const Tensor x =
        torch::nn::functional::batch_norm(w[0].index({tokens()}), model->norm->running_mean, model->norm->running_var,
                                          torch::nn::functional::BatchNormFuncOptions().weight(w[1]).bias(w[2]));
    return x.tanh().matmul(w[0].t());
  };
  for (int i = 0; i < 2; ++i) weights = stepped(all(weights).square().mean(), weights);
  all(weights).cos().sum().backward();
  const std::vector<Tensor> expected = grads_of(*model);
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(torch::allclose(got[i], expected[i], 1e-4, 1e-6)) << i;
}

TEST(DifferentiableNnTest, RecurrentAndAttentionWork) {
  torch::nn::LSTM lstm(torch::nn::LSTMOptions(3, 4).num_layers(2));
  std::get<0>(ramet::clone(lstm, CloneOptions().differentiable(true))->forward(torch::rand({5, 2, 3})))
      .sum()
      .backward();
  for (const Tensor& grad : grads_of(*lstm)) EXPECT_TRUE(grad.defined());
  torch::nn::MultiheadAttention attention(torch::nn::MultiheadAttentionOptions(8, 2));
  const Tensor x = torch::rand({5, 2, 8});
  std::get<0>(ramet::clone(attention, CloneOptions().differentiable(true))->forward(x, x, x)).sum().backward();
  for (const Tensor& grad : grads_of(*attention)) EXPECT_TRUE(grad.defined());
}

TEST(DifferentiableNnTest, CastsComeBack) {
  Tied model, fast = ramet::clone(model, CloneOptions().differentiable(true).dtype(torch::kDouble));
  fast->forward(tokens()).square().sum().backward();
  EXPECT_EQ(model->norm->bias.grad().dtype(), torch::kFloat);
}

TEST(DifferentiableNnTest, ACopyOfACloneTrainsAgain) {
  Tied model, fast = ramet::clone(model, CloneOptions().differentiable(true));
  Tied further = ramet::clone(fast, CloneOptions().differentiable(true)), twin = ramet::clone(fast);
  for (const Tensor& parameter : twin->parameters()) EXPECT_TRUE(parameter.is_leaf() && parameter.requires_grad());
  torch::optim::SGD(twin->parameters(), 0.1).step();
  further->norm->bias.sum().backward();
  EXPECT_TRUE(model->norm->bias.grad().equal(torch::ones(4)));
}

TEST(DifferentiableNnTest, NClonesAddUpAndMixWithOtherModes) {
  Tied model;
  const auto clones = ramet::clones(model, 2, CloneOptions().differentiable("norm").share("embed"));
  EXPECT_TRUE(clones[0]->head.is_same(model->head));
  (clones[0]->norm->bias + 2 * clones[1]->norm->bias).sum().backward();
  EXPECT_TRUE(model->norm->bias.grad().equal(torch::full(4, 3.0)));
}

TEST(DifferentiableNnTest, NothingIsLeftWhenItIsDropped) {
  Tied model;
  const auto uses = model->norm->bias.use_count();
  {
    Tied fast = ramet::clone(model, CloneOptions().differentiable(true));
    fast->forward(tokens()).sum().backward();
    model->zero_grad();
  }
  EXPECT_EQ(model->norm->bias.use_count(), uses);
}

struct Forgetful : torch::nn::Module {
  Forgetful() {
    w = register_parameter("w", torch::ones(2));
    hidden.push_back(w);
  }
  Tensor w;
  std::vector<Tensor> hidden;
  RAMET_MODULE(Forgetful, w)
};

TEST(DifferentiableNnTest, WhatIsForgottenIsFoundAndWhatAutogradHoldsIsNot) {
  const Tied model;
  EXPECT_NO_THROW(ramet::clone(model, CloneOptions().differentiable(true).check(true)));
  EXPECT_THROW(ramet::clone(std::make_shared<Forgetful>(), CloneOptions().differentiable(true).check(true)),
               ramet::UncloneableError);
}

TEST(DifferentiableNnTest, ErrorsNameTheSlot) {
  Tied model;
  {
    const torch::NoGradGuard no_grad;
    EXPECT_THAT(plan_error([&] { ramet::clone(model, CloneOptions().differentiable("norm")); }),
                StrEq("clone: differentiable=\"norm\" is of no use here, where gradients are disabled (no_grad or "
                      "inference mode): nothing would flow back to the source; clone outside of it, or use copy"));
  }
  const std::string slot = "clone: slot 'norm.weight': differentiable=\"norm\" cannot apply to it: ";
  EXPECT_THAT(plan_error([&] { ramet::clone(model, CloneOptions().differentiable("norm").freeze(true)); }),
              StrEq(slot + "freeze=true names it too, and it requires grad by what it is computed from; name less in "
                           "freeze, or copy it"));
  torch::optim::SGD optimizer(model->parameters(), 0.1);
  EXPECT_THAT(
      plan_error([&] { ramet::clone(std::tie(model, optimizer), CloneOptions().differentiable("0.norm")); }),
      StrEq("clone: slot '0.norm.weight': differentiable=\"0.norm\" cannot apply to it: an optimizer of the session "
            "trains it, and cannot train what is computed; leave the optimizer out, and step by assign"));
  EXPECT_FALSE(model->norm->weight.grad().defined());
}

}  // namespace
