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

TEST(ShareTest, TheNarrowerRuleWins) {
  EXPECT_EQ(shared_under(CloneOptions().share(ramet::parameters).copy(ramet::type<torch::nn::LayerNormImpl>())),
            (Names{"embed.weight", "bn.weight", "bn.bias", "head.weight", "head.bias"}));
  EXPECT_EQ(shared_under(CloneOptions().share("head").copy("head.bias")), Names{"head.weight"});
  EXPECT_EQ(shared_under(CloneOptions().copy(true).share("norm").copy("norm.weight")), Names{"norm.bias"});
  EXPECT_EQ(shared_under(CloneOptions().share({"bn.*", "embed"}).copy("bn.running_mean").copy({"bn.running_var"})),
            (Names{"embed.weight", "bn.weight", "bn.bias", "bn.num_batches_tracked"}));
}

struct WideImpl : torch::nn::LinearImpl {
  using torch::nn::LinearImpl::LinearImpl;
  RAMET_MODULE(WideImpl, weight, bias)
};

TEST(ShareTest, ATypeNamesItsSubclassesToo) {
  torch::nn::ModuleList net(torch::nn::Linear(1, 1));
  net->push_back(std::make_shared<WideImpl>(2, 2));
  const auto weight_of = [](const torch::nn::ModuleList& list) {
    return std::dynamic_pointer_cast<torch::nn::LinearImpl>(list->children()[1])->weight;
  };
  const auto by_base = ramet::clone(net, CloneOptions().share(ramet::type<torch::nn::LinearImpl>()));
  EXPECT_TRUE(weight_of(by_base).is_same(weight_of(net)));
  const auto by_own = ramet::clone(net, CloneOptions().share(ramet::type<WideImpl>()));
  EXPECT_TRUE(weight_of(by_own).is_same(weight_of(net)));
  EXPECT_FALSE(by_own->named_parameters()["0.weight"].is_alias_of(net->named_parameters()["0.weight"]));
}

TEST(ShareTest, ClonesShareWithTheSourceAndSoWithEachOther) {
  Model model;
  auto clones = ramet::clones(model, 3, CloneOptions().share("embed"));
  for (Model& clone : clones) EXPECT_EQ(shared(model, clone), Names{"embed.weight"});
  EXPECT_EQ(shared(clones[0], clones[2]), Names{"embed.weight"});
  EXPECT_TRUE(ramet::clones(model, 0).empty());
}

TEST(ShareTest, InASessionPathsStartWithTheMember) {
  Model first, second;
  second->head->weight = second->register_parameter("tied", first->head->weight);
  auto [a, b] = ramet::clone(std::pair(first, second), CloneOptions().share({"0.embed", "1.tied"}));
  EXPECT_EQ(a->embed->weight.data_ptr(), first->embed->weight.data_ptr());
  EXPECT_FALSE(b->embed->weight.is_alias_of(second->embed->weight));
  EXPECT_TRUE(a->head->weight.is_same(first->head->weight));  // tied to what '1.tied' names
  const std::map<std::string, Model> named{{"actor", first}, {"critic", second}};
  auto clone = ramet::clone(named, CloneOptions().share("actor.bn").keep("critic.norm"));
  EXPECT_EQ(shared(clone.at("actor"), first).size(), 5u);
  EXPECT_EQ(clone.at("critic")->norm.ptr(), second->norm.ptr());
  const auto ties = ramet::catalog(named);
  ASSERT_EQ(ties.size(), 1u);
  EXPECT_EQ(ties[0].names, (Names{"actor.head.weight", "critic.tied"}));
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

TEST(KeepTest, AModuleByPathByObjectAndByGlob) {
  Model model;
  for (const ramet::Selector& selector :
       {ramet::Selector("head"), ramet::Selector(model->head), ramet::Selector(*model->head),
        ramet::Selector(model->head.ptr()), ramet::Selector("hea?")}) {
    Model clone = ramet::clone(model, CloneOptions().keep(selector));
    EXPECT_EQ(clone->head.ptr(), model->head.ptr());
    EXPECT_EQ(clone->named_children()["head"], model->head.ptr());
    EXPECT_EQ(shared(model, clone), (Names{"head.weight", "head.bias"}));
  }
}

TEST(KeepTest, AMemberOfASessionAndTheSourceItself) {
  Model a, b;
  const auto both = ramet::clone(std::tuple(a, b), CloneOptions().keep("1"));
  EXPECT_NE(std::get<0>(both).ptr(), a.ptr());
  EXPECT_EQ(std::get<1>(both).ptr(), b.ptr());
  EXPECT_EQ(ramet::clone(a, CloneOptions().keep(a)).ptr(), a.ptr());
  const ModelImpl unowned;
  EXPECT_THROW(ramet::clone(unowned, CloneOptions().keep(unowned)), ramet::PlanError);
}

TEST(KeepTest, ANameWithAGlobsCharactersIsFoundAsItIs) {
  torch::nn::Sequential net;
  torch::nn::Linear starred(1, 1), other(1, 1);
  net->push_back("a*", starred);
  net->push_back("ab", other);
  const auto clone = ramet::clone(net, CloneOptions().keep("a*"));
  EXPECT_EQ(clone->children()[0], starred.ptr());
  EXPECT_NE(clone->children()[1], other.ptr());
}

struct PeersImpl : torch::nn::Module {
  PeersImpl() { own = register_module("own", torch::nn::Linear(1, 1)); }
  torch::nn::Linear own{nullptr};
  std::vector<torch::nn::Linear> peers{torch::nn::Linear(2, 2)};
  RAMET_MODULE(PeersImpl, own, peers)
};

TEST(KeepTest, WhatOnlyAKeptContainerHoldsIsNotCloned) {
  const auto source = std::make_shared<PeersImpl>();
  source->peers.push_back(source->own);
  const auto options = CloneOptions().keep("peers");
  const auto clone = ramet::clone(source, options);
  EXPECT_EQ(clone->peers[0].ptr(), source->peers[0].ptr());
  EXPECT_EQ(clone->peers[1].ptr(), source->own.ptr());  // the list is the source's, as it is
  EXPECT_NE(clone->own.ptr(), source->own.ptr());
  const auto plan = ramet::plan(source, options);
  EXPECT_EQ(plan.find("peers.0.weight")->mode, "keep");
  EXPECT_EQ(plan.nbytes(), 8);
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
