/// tie and untie of torch::nn modules: registered slots and listed members change together, or nothing does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include "failing.h"

namespace {

using ramet::failing;
using testing::HasSubstr;

struct Notes {
  torch::Tensor weight;
  std::vector<torch::Tensor> all;
  using ramet_fields = ramet::fields<Notes, &Notes::weight, &Notes::all>;
};

struct NetImpl : torch::nn::Module {
  NetImpl() : embed(6, 4), head(4, 6), left(4, 4), right(4, 4) {
    register_module("embed", embed);
    register_module("head", head);
    register_module("left", left);
    register_module("right", right);
    scale = register_buffer("scale", torch::ones(4));
    shift = register_buffer("shift", torch::zeros(4));
    unused = register_parameter("unused", torch::Tensor());
    notes = std::make_shared<Notes>(Notes{head->weight, {head->weight, torch::ones(2)}});
    peers = {right, left};
    back = right.get();
    weak = right.ptr();
    any = torch::nn::AnyModule(right);
  }
  torch::Tensor forward(const torch::Tensor& ids) {
    return head(peers[0](left(embed(ids))) * scale + shift) + any.forward(torch::ones({1, 4})).sum();
  }

  torch::nn::Embedding embed;
  torch::nn::Linear head, left, right;
  torch::Tensor scale, shift, unused;
  std::shared_ptr<Notes> notes;
  std::vector<torch::nn::Linear> peers;
  torch::nn::LinearImpl* back = nullptr;
  std::weak_ptr<torch::nn::LinearImpl> weak;
  torch::nn::AnyModule any;
  RAMET_MODULE(NetImpl, embed, head, left, right, scale, shift, unused, notes, peers, back, weak, any)
};
TORCH_MODULE(Net);

// One step; the loss falls.
template <class M>
void train(M& model, const std::function<torch::Tensor()>& forward) {
  torch::optim::SGD optimizer(model->parameters(), 0.01);
  const auto loss = [&] { return forward().pow(2).mean(); };
  const torch::Tensor before = loss();
  before.backward();
  optimizer.step();
  EXPECT_LT(loss().template item<float>(), before.template item<float>());
}

TEST(TieTest, EveryLaterPathGetsTheFirstOnesTensor) {
  Net net;
  const torch::Tensor first = net->embed->weight;
  ramet::tie(net, {"embed.weight", "head.weight"});
  EXPECT_TRUE(net->head->weight.is_same(first));
  EXPECT_TRUE(net->embed->weight.is_same(first));
  EXPECT_TRUE(net->head->named_parameters()["weight"].is_same(first));
  const ramet::Catalog catalog = ramet::catalog(net);
  EXPECT_THAT(catalog["head.weight"].names, testing::ElementsAre("embed.weight", "head.weight"));
  train(net, [&] { return net->forward(torch::tensor({1, 2})); });
}

TEST(TieTest, MembersAndAllOtherNamesFollow) {
  Net net;
  ramet::tie(net, {"scale", "shift"});
  EXPECT_TRUE(net->shift.is_same(net->scale));
  EXPECT_TRUE(net->named_buffers()["shift"].is_same(net->scale));
  ramet::tie(net, {"embed.weight", "notes.weight"});
  for (const torch::Tensor& weight : {net->notes->weight, net->notes->all[0], net->head->weight}) {
    EXPECT_TRUE(weight.is_same(net->embed->weight));
  }
  EXPECT_FALSE(net->notes->all[1].is_same(net->embed->weight));
}

TEST(TieTest, ARecurrentLayersFlatWeightsFollow) {
  torch::nn::ModuleDict model;
  torch::nn::LSTM a(3, 3), b(3, 3);
  torch::nn::ModuleList list(a, b);
  ramet::tie(list, {"0.weight_hh_l0", "1.weight_hh_l0"});
  const torch::Tensor x = torch::randn({2, 1, 3});
  torch::NoGradGuard no_grad;
  const torch::Tensor before = std::get<0>(b(x));
  a->named_parameters()["weight_hh_l0"].mul_(2);
  EXPECT_FALSE(std::get<0>(b(x)).equal(before));
}

TEST(TieTest, ModulesAreTiedInEveryMember) {
  Net net;
  ramet::tie(net, {"left", "right"});
  const auto left = net->left.ptr();
  EXPECT_EQ(net->right.ptr(), left);
  EXPECT_EQ(net->named_children()["right"], left);
  EXPECT_EQ(net->peers[0].ptr(), left);
  EXPECT_EQ(net->back, left.get());
  EXPECT_EQ(net->weak.lock(), left);
  EXPECT_EQ(net->any.ptr(), left);
  train(net, [&] { return net->forward(torch::tensor({1, 2})); });
}

TEST(TieTest, AContainersOwnVectorFollows) {
  torch::nn::Sequential net(torch::nn::Linear(2, 2), torch::nn::ReLU(), torch::nn::Linear(2, 2));
  ramet::tie(net, {"0", "2"});
  EXPECT_EQ(net->ptr(2), net->ptr(0));
  EXPECT_EQ(net->children()[2], net->ptr(0));
  train(net, [&] { return net->forward(torch::ones({1, 2})); });
}

TEST(TieTest, TiesAcrossASessionAndThroughSharedPointers) {
  torch::nn::Embedding encoder(4, 2);
  torch::nn::Linear decoder(2, 4), other(2, 4);
  ramet::tie(std::tuple(encoder, decoder), {"0.weight", "1.weight"});
  EXPECT_TRUE(decoder->weight.is_same(encoder->weight));
  const std::vector<torch::nn::Linear> session{decoder, other};
  EXPECT_THAT(failing([&] {
                ramet::tie(session, {"0", "1"});
              }),
              HasSubstr("tie: '1' is a member of the session, which is not changed"));
  const auto net = std::make_shared<NetImpl>();
  ramet::tie(net, {"scale", "shift"});
  ramet::tie(*net, {"left.bias", "right.bias"});
  EXPECT_TRUE(net->right->bias.is_same(net->left->bias));
}

struct UnlistedImpl : torch::nn::Module {
  UnlistedImpl() { weight = register_parameter("weight", torch::ones({4, 4})); }
  torch::Tensor weight;
};

TEST(TieTest, WhatCannotBeTiedIsAnErrorAndChangesNothing) {
  Net net;
  net->register_module("unlisted", std::make_shared<UnlistedImpl>());
  torch::nn::ModuleList outer;
  outer->push_back(torch::nn::ModuleList());
  net->register_module("outer", outer);
  net->register_buffer("wide", torch::ones(4, torch::kDouble));
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
      {{}, "tie: give two paths at least: the later ones get what the first one holds; got none"},
      {{"scale"}, "got only 'scale'"},
      {{"embed.weight", "haed.weight"}, "tie: there is no 'haed.weight'; the nearest names are 'head.weight', "},
      {{"", "left"}, "tie: '' names the model itself"},
      {{"scale", "unused"}, "tie: 'unused' holds None"},
      {{"scale", "notes"}, "tie: 'notes' names plain state, neither a tensor nor a module"},
      {{"left", "scale"}, "tie: 'left' is a module and 'scale' a tensor"},
      {{"left.weight", "head.weight"},
       "'left.weight' is float32 [4, 4] on cpu, 'head.weight' is float32 [6, 4] on cpu"},
      {{"scale", "wide"}, "'wide' is float64 [4] on cpu"},
      {{"left", "head", "embed"},
       "'left' is of type 'torch::nn::LinearImpl', 'embed' of type 'torch::nn::EmbeddingImpl'"},
      {{"outer", "outer.0"}, "tie: 'outer.0' is beneath 'outer'"},
      {{"scale", "left.bias"}, "tie: 'left.bias' is a parameter, which what 'scale' holds is not"},
      {{"left.weight", "unlisted.weight"}, "tie: slot 'unlisted.weight': type '"},
  };
  for (const auto& [paths, text] : cases) {
    const auto before = net->parameters(), buffers = net->buffers();
    const auto modules = net->modules();
    EXPECT_THAT(failing([&, &paths = paths] { ramet::tie(net, paths); }), HasSubstr(text));
    for (std::size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(net->parameters()[i].is_same(before[i]));
    for (std::size_t i = 0; i < buffers.size(); ++i) EXPECT_TRUE(net->buffers()[i].is_same(buffers[i]));
    EXPECT_EQ(net->modules(), modules);
  }
  EXPECT_THROW(ramet::tie(net, {"left.weight", "unlisted.weight"}), ramet::UncloneableError);
  EXPECT_THAT(failing([] {
                ramet::tie(torch::nn::Linear(nullptr), {"a", "b"});
              }),
              HasSubstr("tie: the model is empty"));
}

TEST(UntieTest, EachSlotGetsACopyOfItsOwn) {
  Net net;
  ramet::tie(net, {"embed.weight", "head.weight"});
  const torch::Tensor shared = net->embed->weight;
  shared.mutable_grad() = torch::ones({6, 4});
  ramet::untie(net, {"head.weight"});
  const torch::Tensor own = net->head->weight;
  EXPECT_TRUE(net->embed->weight.is_same(shared));
  EXPECT_TRUE(net->head->named_parameters()["weight"].is_same(own));
  EXPECT_TRUE(own.equal(shared) && own.requires_grad() && own.is_leaf() && !own.grad().defined());
  EXPECT_FALSE(own.is_alias_of(shared));
  EXPECT_TRUE(net->notes->weight.is_same(shared));  // a member of another module stays
  {
    torch::NoGradGuard no_grad;
    own.zero_();
  }
  EXPECT_TRUE(shared.any().item<bool>());
  train(net, [&] { return net->forward(torch::tensor({1, 2})); });
}

TEST(UntieTest, MembersOfTheSlotsModuleFollow) {
  Net net;
  net->notes->all = {net->scale};
  ramet::tie(net, {"scale", "shift"});
  const torch::Tensor shared = net->scale;
  ramet::untie(net, {"shift"});
  EXPECT_TRUE(net->scale.is_same(shared));
  EXPECT_TRUE(net->shift.is_same(net->named_buffers()["shift"]));
  EXPECT_FALSE(net->shift.is_alias_of(shared));
  EXPECT_TRUE(net->notes->all[0].is_same(shared));
  ramet::tie(net, {"scale", "shift"});
  ramet::untie(net, {"scale"});
  EXPECT_TRUE(net->notes->all[0].is_same(net->scale));
  EXPECT_TRUE(net->shift.is_same(shared));
}

TEST(UntieTest, FlatWeightsFollow) {
  torch::nn::GRU a(3, 3), b(3, 3);
  torch::nn::ModuleList list(a, b);
  for (const auto& name : a->named_parameters().keys()) ramet::tie(list, {"0." + name, "1." + name});
  const torch::Tensor x = torch::randn({2, 1, 3});
  ramet::untie(list, true);
  const torch::Tensor before = std::get<0>(b(x)).detach();
  {
    torch::NoGradGuard no_grad;
    for (torch::Tensor& p : a->parameters()) p.zero_();
  }
  EXPECT_TRUE(std::get<0>(b(x)).equal(before));
  train(b, [&] { return std::get<0>(b(x)); });
}

TEST(UntieTest, AViewGetsMemoryOfItsOwn) {
  torch::nn::Module model;
  const torch::Tensor whole = model.register_parameter("whole", torch::arange(1000.0));
  const torch::Tensor part = model.register_parameter("part", whole.detach().slice(0, 2, 4));
  ramet::untie(model, {"part"});
  const torch::Tensor own = model.named_parameters()["part"];
  EXPECT_TRUE(own.equal(part) && !own.is_alias_of(whole));
  EXPECT_LT(own.storage().nbytes(), 4000u);
  EXPECT_TRUE(ramet::catalog(model).empty());
}

TEST(UntieTest, AModuleUnderTwoNamesIsUntiedByAClone) {
  Net net;
  ramet::tie(net, {"left", "right"});
  const auto left = net->left.ptr();
  EXPECT_THAT(failing([&] { ramet::untie(net, {"right.weight"}); }),
              HasSubstr("untie: 'right.weight' is reached through the module 'right', which has the names 'left', "
                        "'right'; untie the module: 'right'"));
  ramet::untie(net, {"right"});
  EXPECT_EQ(net->left.ptr(), left);
  EXPECT_NE(net->right.ptr(), left);
  EXPECT_EQ(net->named_children()["right"], net->right.ptr());
  EXPECT_EQ(net->peers[1].ptr(), left);
  EXPECT_TRUE(net->right->weight.equal(left->weight));
  EXPECT_FALSE(net->right->weight.is_alias_of(left->weight));
  train(net, [&] { return net->forward(torch::tensor({1, 2})); });
}

TEST(UntieTest, TrueUntiesEverything) {
  Net net;
  ramet::tie(net, {"left", "right"});
  ramet::tie(net, {"embed.weight", "head.weight"});
  const auto left = net->left.ptr();
  const torch::Tensor shared = net->embed->weight;
  ramet::untie(net, true);
  EXPECT_TRUE(ramet::catalog(net).empty());
  EXPECT_EQ(net->left.ptr(), left);
  EXPECT_TRUE(net->embed->weight.is_same(shared));
  torch::nn::Linear inner(2, 2);
  torch::nn::ModuleList twice(inner, inner);
  torch::nn::ModuleList nested(twice, twice);
  ramet::untie(nested, true);
  EXPECT_TRUE(ramet::catalog(nested).empty());
  EXPECT_EQ(nested->parameters().size(), 8u);
  ramet::untie(nested, true);
}

TEST(UntieTest, WhatCannotBeUntiedIsAnErrorAndChangesNothing) {
  Net net;
  const auto unlisted = std::make_shared<UnlistedImpl>();
  net->register_module("unlisted", unlisted);
  net->register_module("again", unlisted);
  ramet::tie(net, {"embed.weight", "head.weight"});
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
      {{}, "untie: give the paths to untie, or True (true in C++) for all"},
      {{"haed.weight"}, "untie: there is no 'haed.weight'"},
      {{"head.bias"}, "untie: 'head.bias' is not tied to anything"},
      {{"head.weight", "left"}, "untie: 'left' is not tied to anything"},
      {{"notes.weight"},
       "untie: 'notes.weight' is a plain reference, which stays in step with 'embed.weight', "
       "'head.weight'; name that"},
      {{"again"}, "untie: slot 'again' needs a copy of its module, in which 'unlisted' is in the way: type '"},
  };
  for (const auto& [paths, text] : cases) {
    EXPECT_THAT(failing([&, &paths = paths] { ramet::untie(net, paths); }), HasSubstr(text));
    EXPECT_TRUE(net->head->weight.is_same(net->embed->weight));
    EXPECT_EQ(net->named_children()["again"], unlisted);
  }
  EXPECT_THAT(failing([&] { ramet::untie(net, false); }), HasSubstr("untie: give the paths"));
  EXPECT_THROW(ramet::untie(net, true), ramet::UncloneableError);
  EXPECT_TRUE(net->head->weight.is_same(net->embed->weight));
}

}  // namespace
