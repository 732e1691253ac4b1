/// alias, meta, freeze, untie, grads, device, dtype, within and predicates in the torch::nn front.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include "plan_error.h"

namespace {

using ramet::CloneOptions;
using ramet::plan_error;
using testing::HasSubstr;
using testing::StrEq;

struct TiedImpl : torch::nn::Module {
  TiedImpl() : embed(6, 4), norm(torch::nn::LayerNormOptions({4})), head(4, 6) {
    register_module("embed", embed);
    register_module("norm", norm);
    register_module("head", head);
    head->weight = embed->weight;
    head->replace("weight", embed->weight);
    steps = register_buffer("steps", torch::zeros({3}, torch::kLong));
  }
  torch::Tensor forward(const torch::Tensor& tokens) { return head(norm(embed(tokens))); }

  torch::nn::Embedding embed;
  torch::nn::LayerNorm norm;
  struct HeadImpl : torch::nn::Module {
    HeadImpl(int64_t in, int64_t out)
        : weight(register_parameter("weight", torch::rand({out, in}))),
          bias(register_parameter("bias", torch::rand({out}))) {}
    torch::Tensor forward(const torch::Tensor& x) { return torch::nn::functional::linear(x, weight, bias); }
    void replace(const std::string& name, const torch::Tensor& tensor) { parameters_[name] = tensor; }
    torch::Tensor weight, bias;
    RAMET_MODULE(HeadImpl, weight, bias)
  };
  TORCH_MODULE(Head);
  Head head;
  torch::Tensor steps;
  RAMET_MODULE(TiedImpl, embed, norm, head, steps)
};
TORCH_MODULE(Tied);

torch::Tensor tokens() { return torch::tensor({1, 2}); }

std::string error_of(const Tied& model, const CloneOptions& options) {
  return plan_error([&] { ramet::clone(model, options); });
}

TEST(AliasTest, ValuesAreTheSourcesAndGradientsAreNot) {
  Tied model, worker = ramet::clone(model, CloneOptions().alias(true));
  EXPECT_FALSE(worker->norm->weight.is_same(model->norm->weight));
  EXPECT_TRUE(worker->norm->weight.is_alias_of(model->norm->weight));
  EXPECT_TRUE(worker->head->weight.is_same(worker->embed->weight));
  worker->forward(tokens()).sum().backward();
  EXPECT_TRUE(worker->norm->bias.grad().defined());
  EXPECT_FALSE(model->norm->bias.grad().defined());
  const auto version = model->norm->bias._version();
  torch::NoGradGuard no_grad;
  worker->norm->bias.fill_(3);
  EXPECT_EQ(model->norm->bias[0].item<float>(), 3);
  EXPECT_EQ(model->norm->bias._version(), version);
}

TEST(MetaTest, ShapesAndTiesWithoutMemory) {
  const Tied model;
  Tied skeleton = ramet::clone(model, CloneOptions().meta(true));
  EXPECT_TRUE(skeleton->steps.is_meta());
  EXPECT_EQ(skeleton->steps.dtype(), torch::kLong);
  EXPECT_TRUE(skeleton->head->weight.is_same(skeleton->embed->weight));
  EXPECT_TRUE(skeleton->norm->weight.requires_grad());
  EXPECT_EQ(ramet::plan(model, CloneOptions().meta(true)).nbytes(), 0);
  Tied part = ramet::clone(model, CloneOptions().meta("norm"));
  EXPECT_TRUE(part->norm->weight.is_meta());
  EXPECT_TRUE(part->head->bias.equal(model->head->bias));
}

TEST(FreezeTest, WhatIsNamedOfTheClonesOwn) {
  Tied model, all = ramet::clone(model, CloneOptions().share("norm").freeze(true));
  EXPECT_FALSE(all->head->bias.requires_grad());
  EXPECT_TRUE(all->norm->weight.requires_grad());
  EXPECT_TRUE(model->head->bias.requires_grad());
  Tied tied = ramet::clone(model, CloneOptions().freeze({"head.weight", ramet::type<torch::nn::LayerNormImpl>()}));
  EXPECT_FALSE(tied->embed->weight.requires_grad());
  EXPECT_FALSE(tied->norm->bias.requires_grad());
  EXPECT_TRUE(tied->head->bias.requires_grad());
}

TEST(FreezeTest, WhatIsNotItsOwnIsAnError) {
  EXPECT_THAT(error_of(Tied(), CloneOptions().share(true).freeze("norm")),
              StrEq("clone: slot 'norm.weight': freeze=\"norm\" names it, and it stays the source's own (share=true): "
                    "freezing it would freeze the source; copy it, or name less in freeze"));
  EXPECT_THAT(error_of(Tied(), CloneOptions().share(true).freeze(true)),
              HasSubstr("all of it is shared or kept; drop it, or share less"));
}

TEST(UntieTest, TheNamedSlotGetsATensorOfItsOwn) {
  Tied model, clone = ramet::clone(model, CloneOptions().untie("head.weight").share("embed"));
  EXPECT_TRUE(clone->embed->weight.is_same(model->embed->weight));
  EXPECT_FALSE(clone->head->weight.is_alias_of(model->embed->weight));
  EXPECT_TRUE(clone->head->weight.equal(model->embed->weight));
  EXPECT_TRUE(clone->head->weight.is_same(clone->head->named_parameters()["weight"]));
  EXPECT_TRUE(ramet::catalog(clone).empty());
  EXPECT_EQ(ramet::catalog(model).size(), 1u);
  Tied all = ramet::clone(model, CloneOptions().untie(true).share(true));
  EXPECT_TRUE(all->embed->weight.is_same(model->embed->weight));
  EXPECT_FALSE(all->head->weight.is_same(model->embed->weight));
}

TEST(UntieTest, AModulesSecondPathGetsAModuleOfItsOwn) {
  torch::nn::Linear shared(2, 2);
  torch::nn::Sequential a(shared), b(shared);
  torch::nn::ModuleDict model(
      std::vector<std::pair<std::string, std::shared_ptr<torch::nn::Module>>>{{"a", a.ptr()}, {"b", b.ptr()}});
  auto clone = ramet::clone(model, CloneOptions().untie("b.0"));
  const auto first = clone["a"]->children()[0], second = clone["b"]->children()[0];
  EXPECT_NE(first, second);
  EXPECT_FALSE(first->parameters()[0].is_alias_of(second->parameters()[0]));
  EXPECT_TRUE(first->parameters()[0].equal(second->parameters()[0]));
  EXPECT_EQ(clone["b"]->as<torch::nn::Sequential>()->ptr(0), second);
  EXPECT_THAT(
      plan_error([&] { ramet::clone(model, CloneOptions().untie("b.0.weight")); }),
      StrEq("clone: untie=\"b.0.weight\" is reached through module 'b.0', which has two names: untie the module, "
            "by untie='b.0'"));
}

TEST(UntieTest, AnRnnsFlatWeightsFollow) {
  torch::nn::LSTM lstm(2, 3);
  torch::nn::ModuleList model(lstm, lstm);
  auto clone = ramet::clone(model, CloneOptions().untie("1"));
  auto second = std::dynamic_pointer_cast<torch::nn::LSTMImpl>(clone->ptr(1));
  const auto x = torch::rand({4, 1, 2});
  const auto before = std::get<0>(lstm->forward(x));
  {
    torch::NoGradGuard no_grad;
    for (auto& p : second->parameters()) p.zero_();
  }
  EXPECT_TRUE(std::get<0>(lstm->forward(x)).equal(before));
  EXPECT_EQ(std::get<0>(second->forward(x)).abs().sum().item<float>(), 0);
}

TEST(UntieTest, WhatIsNotTiedIsAnError) {
  EXPECT_THAT(error_of(Tied(), CloneOptions().untie("norm.weight")),
              StrEq("clone: untie=\"norm.weight\" names a slot that is not tied to anything; drop it"));
  EXPECT_THAT(error_of(Tied(), CloneOptions().untie("nom.weight")), HasSubstr("the nearest names are 'norm.weight'"));
  EXPECT_THAT(error_of(Tied(), CloneOptions().untie(ramet::parameters)), HasSubstr("is no selector for untie"));
}

TEST(GradsTest, TheyAreCopiedIfAskedFor) {
  Tied model;
  model->forward(tokens()).sum().backward();
  EXPECT_FALSE(ramet::clone(model)->norm->bias.grad().defined());
  Tied clone = ramet::clone(model, CloneOptions().grads(true));
  EXPECT_TRUE(clone->norm->bias.grad().equal(model->norm->bias.grad()));
  EXPECT_FALSE(clone->norm->bias.grad().is_alias_of(model->norm->bias.grad()));
  EXPECT_THAT(error_of(model, CloneOptions().grads(true).meta("norm")), HasSubstr("grads cannot be copied to it"));
  EXPECT_THAT(error_of(model, CloneOptions().grads(true).device(torch::kMeta)),
              StrEq("clone: grads cannot be copied to device=meta, where nothing has values; drop one of the two"));
}

struct UnlistedImpl : torch::nn::Module {
  torch::Tensor forward(const torch::Tensor& x) { return x; }
};

TEST(KeepTest, AModuleThatListsNothingCanBeKeptWithinASequential) {
  torch::nn::Sequential source(std::make_shared<UnlistedImpl>(), torch::nn::Linear(2, 2));
  EXPECT_THROW(ramet::clone(source), ramet::UncloneableError);
  const auto clone = ramet::clone(source, CloneOptions().keep("0"));
  EXPECT_EQ(clone->ptr(0), source->ptr(0));
  EXPECT_NE(clone->ptr(1), source->ptr(1));
}

TEST(KeepTest, FalseIsNoSelector) {
  EXPECT_THAT(error_of(Tied(), CloneOptions().keep(false)), HasSubstr("keep=false is no selector"));
}

TEST(DtypeTest, FloatingTensorsBecomeOfItWithTheirTies) {
  Tied model, clone = ramet::clone(model, CloneOptions().dtype(torch::kDouble));
  EXPECT_EQ(clone->norm->weight.dtype(), torch::kDouble);
  EXPECT_EQ(clone->steps.dtype(), torch::kLong);
  EXPECT_TRUE(clone->head->weight.is_same(clone->embed->weight));
  EXPECT_TRUE(clone->head->bias.equal(model->head->bias.to(torch::kDouble)));
  EXPECT_TRUE(clone->forward(tokens()).allclose(model->forward(tokens()).to(torch::kDouble), 1e-4, 1e-6));
  EXPECT_THAT(error_of(model, CloneOptions().dtype(torch::kDouble).share("norm")),
              StrEq("clone: slot 'norm.weight' (cpu, Float): dtype=Double cannot apply to it: it would have to change, "
                    "and it is shared: move the source before, or copy it"));
  EXPECT_THAT(error_of(model, CloneOptions().dtype(torch::kInt)),
              StrEq("clone: dtype=Int is neither floating nor complex, which is what parameters can become"));
}

TEST(DeviceTest, TensorsGoThereWithTheirTies) {
  Tied model, clone = ramet::clone(model, CloneOptions().device(torch::kMeta));
  EXPECT_TRUE(clone->head->weight.is_meta());
  EXPECT_TRUE(clone->head->weight.is_same(clone->embed->weight));
  EXPECT_TRUE(
      ramet::clone(model, CloneOptions().device(torch::kCPU).share(true))->norm->weight.is_same(model->norm->weight));
  EXPECT_THAT(error_of(model, CloneOptions().device(torch::kMeta).keep("norm")), HasSubstr("and it is kept"));
}

TEST(PredicateTest, ItIsAskedWithPathAndTensor) {
  Tied model;
  Tied clone = ramet::clone(model, CloneOptions().share([](std::string_view path, const at::Tensor& tensor) {
    return path.starts_with("norm") && tensor.dim() == 1;
  }));
  EXPECT_TRUE(clone->norm->weight.is_same(model->norm->weight));
  EXPECT_FALSE(clone->head->bias.is_same(model->head->bias));
  EXPECT_THAT(error_of(model, CloneOptions().share([](std::string_view, const at::Tensor&) { return false; })),
              StrEq("clone: <a predicate> matches nothing: it is true of no tensor"));
}

struct PartImpl : torch::nn::Module {
  PartImpl() : norm(torch::nn::LayerNormOptions({4})) {
    register_module("norm", norm);
    own = register_parameter("own", torch::rand({2}));
  }
  torch::nn::LayerNorm norm;
  torch::Tensor own, tied, view;
  torch::nn::Module* parent = nullptr;
  torch::nn::Embedding embed{nullptr};
  RAMET_MODULE(PartImpl, norm, own, tied, view, parent, embed)
};
TORCH_MODULE(Part);

struct RootImpl : torch::nn::Module {
  RootImpl() : embed(6, 4) {
    register_module("embed", embed);
    register_module("part", part);
    part->tied = embed->weight;
    part->view = embed->weight.detach().slice(0, 1, 3);
    part->parent = this;
    part->embed = embed;
  }
  torch::nn::Embedding embed;
  Part part;
  RAMET_MODULE(RootImpl, embed, part)
};
TORCH_MODULE(Root);

TEST(WithinTest, TiesAndReferencesToTheRestStay) {
  Root root;
  Part clone = ramet::clone(root->part, CloneOptions().within(root));
  EXPECT_TRUE(clone->tied.is_same(root->embed->weight));
  EXPECT_TRUE(clone->view.is_alias_of(root->embed->weight));
  EXPECT_EQ(clone->parent, root.get());
  EXPECT_EQ(clone->embed.ptr(), root->embed.ptr());
  EXPECT_FALSE(clone->own.is_alias_of(root->part->own));
  EXPECT_NE(clone->norm.ptr(), root->part->norm.ptr());
  Part apart = ramet::clone(root->part);
  EXPECT_FALSE(apart->tied.is_alias_of(root->embed->weight));
}

TEST(WithinTest, ASourceThatIsNotInItIsAnError) {
  Root root;
  EXPECT_THAT(plan_error([&] { ramet::clone(torch::nn::Linear(2, 2), CloneOptions().within(root)); }),
              HasSubstr("is not registered in it, at any depth; leave within out, or give the module that holds it"));
}

}  // namespace
