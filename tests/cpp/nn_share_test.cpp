/// Rules in the torch::nn front: share, copy and keep by every kind of selector, and their errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include <sstream>

namespace {

using ramet::CloneOptions;
using testing::HasSubstr;

struct Counter {
  int steps = 0;
};

struct ModelImpl : torch::nn::Module {
  ModelImpl()
      : embed(6, 4), norm(torch::nn::LayerNormOptions({4})), bn(4), head(4, 2), counter(std::make_shared<Counter>()) {
    register_module("embed", embed);
    register_module("norm", norm);
    register_module("bn", bn);
    register_module("head", head);
    again = counter;
  }
  torch::Tensor forward(const torch::Tensor& ids) { return head(bn(norm(embed(ids)))); }

  torch::nn::Embedding embed;
  torch::nn::LayerNorm norm;
  torch::nn::BatchNorm1d bn;
  torch::nn::Linear head;
  std::shared_ptr<Counter> counter, again;
  int width = 4;
  RAMET_MODULE(ModelImpl, embed, norm, bn, head, counter, again)
};
TORCH_MODULE(Model);

// The names of the tensors that two models share, in order.
std::vector<std::string> shared(Model& a, Model& b) {
  std::vector<std::string> result;
  for (const auto& list :
       {std::pair(a->named_parameters(), b->named_parameters()), std::pair(a->named_buffers(), b->named_buffers())}) {
    for (const auto& item : list.first) {
      const torch::Tensor& other = list.second[item.key()];
      EXPECT_TRUE(item.value().equal(other)) << item.key();
      EXPECT_EQ(item.value().is_same(other), item.value().is_alias_of(other)) << item.key();
      if (item.value().is_same(other)) result.push_back(item.key());
    }
  }
  return result;
}

std::vector<std::string> shared_under(const CloneOptions& options) {
  Model model;
  Model clone = ramet::clone(model, options);
  return shared(model, clone);
}

using Names = std::vector<std::string>;
const Names stats{"bn.running_mean", "bn.running_var", "bn.num_batches_tracked"};

TEST(ShareTest, EverySelectorNamesWhatItSays) {
  EXPECT_EQ(shared_under({}), Names{});
  EXPECT_EQ(shared_under(CloneOptions().share(true)).size(), 10u);
  EXPECT_EQ(shared_under(CloneOptions().share(ramet::parameters)).size(), 7u);
  EXPECT_EQ(shared_under(CloneOptions().share(ramet::buffers)), stats);
  EXPECT_EQ(shared_under(CloneOptions().share("embed")), Names{"embed.weight"});
  EXPECT_EQ(shared_under(CloneOptions().share("head.bias")), Names{"head.bias"});
  EXPECT_EQ(shared_under(CloneOptions().share("*.bias")), (Names{"norm.bias", "bn.bias", "head.bias"}));
  EXPECT_EQ(shared_under(CloneOptions().share(ramet::type<torch::nn::LayerNormImpl>())),
            (Names{"norm.weight", "norm.bias"}));
  EXPECT_EQ(shared_under(CloneOptions().share({"embed", ramet::type<torch::nn::LayerNormImpl>()})),
            (Names{"embed.weight", "norm.weight", "norm.bias"}));
  EXPECT_EQ(shared_under(CloneOptions().share(true).copy(ramet::parameters)), stats);
}

TEST(ShareTest, ModulesAndTensorsAreSelectorsAsObjects) {
  Model model;
  Model clone = ramet::clone(model, CloneOptions().share({model->embed, model->head->bias}));
  EXPECT_EQ(shared(model, clone), (Names{"embed.weight", "head.bias"}));
}

TEST(ShareTest, OneBackwardFillsBothsGradients) {
  Model model;
  Model tower = ramet::clone(model, CloneOptions().share(true));
  EXPECT_NE(model->head.ptr(), tower->head.ptr());
  tower->forward(torch::tensor({1, 2, 3})).pow(2).sum().backward();
  ASSERT_TRUE(model->embed->weight.grad().defined());
  EXPECT_TRUE(model->embed->weight.grad().is_same(tower->embed->weight.grad()));
}

TEST(ShareTest, AWriteReachesTheOtherSideIfSharedOnly) {
  Model model;
  Model clone = ramet::clone(model, CloneOptions().share("embed"));
  torch::NoGradGuard no_grad;
  clone->embed->weight.fill_(3);
  clone->head->weight.fill_(3);
  EXPECT_EQ(model->embed->weight.sum().item<float>(), 72);
  EXPECT_NE(model->head->weight.sum().item<float>(), 24);
}

TEST(ShareTest, SharedStateIsCopiedOnceForAllThatHoldIt) {
  Model model;
  Model clone = ramet::clone(model);
  EXPECT_NE(clone->counter, model->counter);
  EXPECT_EQ(clone->counter, clone->again);
  clone->counter->steps = 5;
  EXPECT_EQ(model->counter->steps, 0);
}

TEST(KeepTest, StateByNameByObjectAndByGlob) {
  Model model;
  for (const ramet::Selector& selector :
       {ramet::Selector("counter"), ramet::Selector(model->counter), ramet::Selector("count*")}) {
    Model clone = ramet::clone(model, CloneOptions().keep(selector));
    EXPECT_EQ(clone->counter, model->counter);
    EXPECT_EQ(clone->again, model->counter);
    EXPECT_EQ(shared(model, clone), Names{});
  }
}

TEST(KeepTest, AModuleWithAllBeneathItUnderEveryName) {
  torch::nn::Linear linear(2, 2);
  torch::nn::Sequential inner(linear, torch::nn::ReLU());
  torch::nn::ModuleList net(inner, linear);
  auto clone = ramet::clone(net, CloneOptions().keep("0"));
  EXPECT_EQ(clone[0], inner.ptr());
  EXPECT_EQ(clone[1], linear.ptr());
  EXPECT_NE(clone.ptr(), net.ptr());
}

TEST(KeepTest, ATensorIsSharedAndTiesFollow) {
  Model model;
  Model clone = ramet::clone(model, CloneOptions().keep("head.weight"));
  EXPECT_EQ(shared(model, clone), Names{"head.weight"});
}

TEST(KeepTest, WhatKeepCannotNameIsAnError) {
  Model model;
  for (const ramet::Selector& selector :
       std::vector<ramet::Selector>{true, ramet::parameters, "width", "nothing", "x*"}) {
    EXPECT_THROW(ramet::clone(model, CloneOptions().keep(selector)), ramet::PlanError);
  }
  EXPECT_THROW(ramet::clone(model, CloneOptions().keep("embed").share("embed.weight")), ramet::PlanError);
}

TEST(KeepTest, AnUnlistedClassCanBeKept) {
  struct ForgottenImpl : torch::nn::Module {};
  torch::nn::Sequential net{torch::nn::Linear(1, 1)};
  const auto odd = net->register_module("odd", std::make_shared<ForgottenImpl>());
  torch::nn::Sequential clone = ramet::clone(net, CloneOptions().keep("odd"));
  EXPECT_EQ(clone->named_children()["odd"], odd);
}

template <class Run>
std::string message(const Run& run) {
  try {
    run();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "";
}

TEST(RulesTest, ErrorsNameTheSlotBothRulesAndTheNearestNames) {
  Model model;
  EXPECT_THAT(message([&] { ramet::clone(model, CloneOptions().share("head").copy("*.bias")); }),
              HasSubstr("slot 'head.bias': share and copy both name it"));
  EXPECT_THAT(message([&] { ramet::clone(model, CloneOptions().share("haed")); }), HasSubstr("'head'"));
  EXPECT_THAT(message([&] { ramet::clone(model, CloneOptions().share("counter")); }), HasSubstr("keep=\"counter\""));
  EXPECT_THAT(message([&] { ramet::clone(model, CloneOptions().share(ramet::type<torch::nn::Conv2dImpl>())); }),
              HasSubstr("matches nothing"));
  EXPECT_THAT(message([&] { ramet::clone(model, CloneOptions().share(torch::ones(1))); }), HasSubstr("does not hold"));
}

TEST(RulesTest, APlanSaysWhatACloneWouldDo) {
  Model model;
  const ramet::Plan plan = ramet::plan(model, CloneOptions().share("embed").keep("counter"));
  EXPECT_EQ(plan.find("embed.weight")->mode, "share");
  EXPECT_EQ(plan.find("embed.weight")->why, "share=\"embed\"");
  EXPECT_EQ(plan.find("head.bias")->mode, "copy");
  EXPECT_EQ(plan.find("head.bias")->nbytes, 8);
  EXPECT_EQ(plan.find("counter")->mode, "keep");
  std::ostringstream out;
  out << plan;
  EXPECT_THAT(out.str(), HasSubstr("head.bias"));
  EXPECT_THAT(out.str(), HasSubstr("to allocate"));
}

}  // namespace
