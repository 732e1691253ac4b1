/// assign in the torch::nn front: leaf and non-leaf tensors into slots and members.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include "failing.h"

namespace {

using ramet::failing;
using testing::HasSubstr;

struct NetImpl : torch::nn::Module {
  NetImpl() : embed(5, 3), rnn(3, 3), head(torch::nn::LinearOptions(3, 5).bias(false)) {
    register_module("embed", embed);
    register_module("rnn", rnn);
    register_module("head", head);
    scale = register_buffer("scale", torch::ones(5));
    ramet::tie(*this, {"embed.weight", "head.weight"});
  }
  torch::Tensor forward(const torch::Tensor& ids) { return head(std::get<0>(rnn(embed(ids)))) * scale; }

  torch::nn::Embedding embed;
  torch::nn::GRU rnn;
  torch::nn::Linear head;
  torch::Tensor scale;
  RAMET_MODULE(NetImpl, embed, rnn, head, scale)
};
TORCH_MODULE(Net);

const torch::Tensor& ids() {
  static const torch::Tensor value = torch::tensor({{1}, {2}});
  return value;
}

// The parameters, each once.
std::vector<torch::Tensor> parameters(Net& net) {
  std::vector<torch::Tensor> result;
  for (const torch::Tensor& p : net->parameters()) {
    const auto same = [&](const torch::Tensor& other) { return other.is_same(p); };
    if (std::none_of(result.begin(), result.end(), same)) result.push_back(p);
  }
  return result;
}

std::vector<torch::Tensor> stepped(Net& net) {
  std::vector<torch::Tensor> result = parameters(net);
  const auto grads = torch::autograd::grad({net(ids()).pow(2).sum()}, result, {}, true, true);
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = result[i] - 0.1 * grads[i];
  return result;
}

TEST(AssignTest, AStepThroughNonLeafTensorsIsDifferentiable) {
  Net net;
  const std::vector<torch::Tensor> before = parameters(net), after = stepped(net);
  ramet::assign(net, after);
  for (std::size_t i = 0; i < after.size(); ++i) EXPECT_TRUE(parameters(net)[i].is_same(after[i]));
  EXPECT_TRUE(net->embed->weight.is_same(after[0]) && net->head->weight.is_same(after[0]));
  net(ids()).sum().backward();
  for (const torch::Tensor& p : before) EXPECT_TRUE(p.grad().defined() && p.grad().any().item<bool>());
}

TEST(AssignTest, TheForwardUsesWhatIsAssigned) {
  Net net, other;
  const torch::Tensor expected = other(ids());
  std::vector<torch::Tensor> values;
  for (const torch::Tensor& p : parameters(other)) values.push_back(p * 1);
  ramet::assign(net, values);
  EXPECT_TRUE(net(ids()).equal(expected));
  ramet::assign(net, parameters(other));
  torch::optim::SGD optimizer(net->parameters(), 0.01);
  const torch::Tensor loss = net(ids()).pow(2).mean();
  loss.backward();
  optimizer.step();
  EXPECT_LT(net(ids()).pow(2).mean().item<float>(), loss.item<float>());
}

TEST(AssignTest, AnyPathReachesEveryName) {
  Net net;
  const torch::Tensor weight = torch::zeros({5, 3}, torch::requires_grad()), scale = torch::zeros(5);
  ramet::assign(net, {{"head.weight", weight}, {"scale", scale}});
  EXPECT_TRUE(net->embed->weight.is_same(weight) && net->head->weight.is_same(weight));
  EXPECT_TRUE(net->scale.is_same(scale) && net->named_buffers()["scale"].is_same(scale));
  ramet::assign(net, std::map<std::string, torch::Tensor>{{"embed.weight", torch::ones({5, 3})}});
  EXPECT_TRUE(net->head->weight.requires_grad());
  ramet::assign(net,
                {torch::zeros({5, 3}), torch::zeros({9, 3}), torch::zeros({9, 3}), torch::zeros(9), torch::zeros(9)});
  EXPECT_FALSE(net(ids()).any().item<bool>());
}

TEST(AssignTest, DataGetsTheSlotsRequiresGradOverTheSameMemory) {
  Net net;
  net->rnn->named_parameters()["bias_hh_l0"].set_requires_grad(false);
  const torch::Tensor weight = torch::ones({5, 3}), bias = torch::ones(9);
  ramet::assign(net, {{"embed.weight", weight}, {"rnn.bias_hh_l0", bias}});
  EXPECT_TRUE(net->head->weight.is_alias_of(weight) && net->head->weight.requires_grad());
  EXPECT_FALSE(weight.requires_grad());
  EXPECT_FALSE(net->rnn->named_parameters()["bias_hh_l0"].requires_grad());
}

TEST(AssignTest, ASkeletonOnMetaIsFilled) {
  torch::nn::Linear source(2, 2), skeleton = ramet::clone(source, ramet::CloneOptions().meta(true));
  ramet::assign(skeleton, source->named_parameters());
  EXPECT_TRUE(skeleton->weight.is_same(source->weight));
  EXPECT_TRUE(skeleton(torch::ones({1, 2})).equal(source(torch::ones({1, 2}))));
}

TEST(AssignTest, WhatCannotBeAssignedIsAnErrorAndChangesNothing) {
  Net net;
  const std::vector<std::pair<std::vector<std::pair<std::string, torch::Tensor>>, std::string>> cases{
      {{{"scael", torch::ones(5)}}, "assign: there is no 'scael'; the nearest names are 'scale'"},
      {{{"rnn", torch::ones(5)}}, "assign: 'rnn' is a module; name the tensors within it, each by its path"},
      {{{"scale", torch::Tensor()}}, "assign: 'scale' is given an undefined tensor"},
      {{{"scale", torch::ones(4)}}, "assign: 'scale' is float32 [5] on cpu, and is given float32 [4] on cpu"},
      {{{"scale", torch::ones(5, torch::kDouble)}}, "given float64 [5] on cpu; shape, dtype and device must agree"},
      {{{"scale", torch::ones(5, torch::kMeta)}}, "given float32 [5] on meta"},
      {{{"scale", torch::zeros(5)}, {"head.weight", torch::ones(1)}}, "assign: 'head.weight' is float32 [5, 3] on cpu"},
      {{{"embed.weight", torch::ones({5, 3})}, {"head.weight", torch::ones({5, 3})}},
       "assign: 'embed.weight' and 'head.weight' are one tensor, and are given two; give it under one of its names"},
  };
  for (const auto& [tensors, text] : cases) {
    const std::vector<torch::Tensor> before = net->parameters();
    const torch::Tensor scale = net->scale;
    EXPECT_THAT(failing([&, &tensors = tensors] {
                  ramet::assign(net, std::map<std::string, torch::Tensor>(tensors.begin(), tensors.end()));
                }),
                HasSubstr(text));
    for (std::size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(net->parameters()[i].is_same(before[i]));
    EXPECT_TRUE(net->scale.is_same(scale));
  }
  EXPECT_THAT(failing([&] { ramet::assign(net, net->parameters()); }),
              HasSubstr("assign: got 6 tensors for 5 parameters; give one for each, in the order of parameters() (a "
                        "tied one once), or a mapping by path"));
}

}  // namespace
