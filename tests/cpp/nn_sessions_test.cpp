/// Sessions of the torch::nn front: members of every kind, nested at will, ties between them, optimizers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/optimizers.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include "plan_error.h"

namespace {

using ramet::CloneOptions;
using ramet::plan_error;
using testing::HasSubstr;
using testing::StrEq;
using torch::nn::Linear;

TEST(SessionTest, MembersNestAtWill) {
  Linear a(2, 3), b(2, 3), c(4, 4);
  b->weight = a->weight;
  b->named_parameters(false);
  const torch::Tensor view = a->weight.detach()[1];
  using Inner = std::pair<Linear, std::vector<std::shared_ptr<torch::nn::LinearImpl>>>;
  const auto source =
      std::tuple(Inner{a, {c.ptr(), nullptr, c.ptr()}}, std::map<std::string, Linear>{{"x", a}, {"y.z", c}}, view,
                 torch::Tensor(), std::optional<int>().has_value() ? Linear(1, 1) : Linear(nullptr));
  const auto [inner, map, part, undefined, empty] = ramet::clone(source);
  EXPECT_NE(inner.first.ptr(), a.ptr());
  EXPECT_EQ(inner.first.ptr(), map.at("x").ptr());
  EXPECT_EQ(inner.second[0], map.at("y.z").ptr());
  EXPECT_EQ(inner.second[0], inner.second[2]);
  EXPECT_EQ(inner.second[1], nullptr);
  EXPECT_TRUE(part.is_alias_of(inner.first->weight));
  EXPECT_FALSE(part.is_alias_of(view));
  EXPECT_TRUE(part.equal(view));
  EXPECT_FALSE(undefined.defined());
  EXPECT_TRUE(empty.is_empty());
}

TEST(SessionTest, PathsGoOnByIndexAndKey) {
  Linear a(2, 3), b(2, 3);
  const auto source = std::tuple(std::map<std::string, std::vector<Linear>>{{"actor", {a, b}}}, torch::ones({2}));
  const auto clone = ramet::clone(source, CloneOptions().share({"0.actor.1.weight", "1"}));
  EXPECT_TRUE(std::get<0>(clone).at("actor")[1]->weight.is_same(b->weight));
  EXPECT_FALSE(std::get<0>(clone).at("actor")[0]->weight.is_same(a->weight));
  EXPECT_TRUE(std::get<1>(clone).is_same(std::get<1>(source)));
}

TEST(SessionTest, AnEmptyOneIsAnError) {
  EXPECT_THAT(plan_error([] { ramet::clone(std::vector<Linear>()); }), HasSubstr("the source is empty"));
  EXPECT_THAT(plan_error([] { ramet::clone(std::tuple<>()); }), HasSubstr("the source is empty"));
}

struct NetImpl : torch::nn::Module {
  NetImpl() : first(4, 8), second(8, 2) {
    register_module("first", first);
    register_module("second", second);
  }
  torch::Tensor forward(const torch::Tensor& x) { return second(torch::relu(first(x))); }
  Linear first, second;
  RAMET_MODULE(NetImpl, first, second)
};
TORCH_MODULE(Net);

template <class Optimizer>
void train(Net& net, Optimizer& optimizer, int steps) {
  torch::Tensor x = torch::linspace(-1, 1, 12).view({3, 4}), y = torch::ones({3, 2});
  for (int i = 0; i < steps; ++i) {
    optimizer.step([&] {
      optimizer.zero_grad();
      torch::Tensor loss = torch::mse_loss(net->forward(x), y);
      loss.backward();
      return loss;
    });
  }
}

std::vector<torch::Tensor> values(const Net& net) {
  std::vector<torch::Tensor> result;
  for (const auto& p : net->parameters()) result.push_back(p.detach().clone());
  return result;
}

bool equal(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) { return x.equal(y); });
}

/// A clone takes the very steps that the source takes, and neither moves the other.
template <class Optimizer, class Options>
void expect_same_steps(const Options& options, int groups = 1) {
  SCOPED_TRACE(typeid(Optimizer).name());
  Net net;
  std::vector<torch::optim::OptimizerParamGroup> given;
  if (groups == 1) {
    given.emplace_back(net->parameters());
  } else {
    auto other = std::make_unique<Options>(options);
    other->lr(0.5);
    given.emplace_back(net->first->parameters(), std::move(other));
    given.emplace_back(net->second->parameters());
  }
  Optimizer optimizer(std::move(given), options);
  train(net, optimizer, 3);
  auto [net2, optimizer2] = ramet::clone(std::tie(net, optimizer));
  static_assert(std::is_same_v<decltype(optimizer2), std::unique_ptr<Optimizer>>);
  ASSERT_EQ(optimizer2->param_groups().size(), static_cast<std::size_t>(groups));
  EXPECT_TRUE(optimizer2->param_groups()[0].params()[0].is_same(net2->first->weight));
  EXPECT_EQ(optimizer2->state().size(), optimizer.state().size());
  const auto before = values(net);
  train(net2, *optimizer2, 2);
  EXPECT_TRUE(equal(values(net), before));
  EXPECT_FALSE(equal(values(net2), before));
  const auto theirs = values(net2);
  train(net, optimizer, 2);
  EXPECT_TRUE(equal(values(net), theirs));
  EXPECT_TRUE(equal(values(net2), theirs));
}

TEST(OptimizerTest, TheClonesStepIsTheSourcesToTheBit) {
  using namespace torch::optim;
  expect_same_steps<SGD>(SGDOptions(0.1));
  expect_same_steps<SGD>(SGDOptions(0.1).momentum(0.9).nesterov(true), 2);
  expect_same_steps<Adam>(AdamOptions(0.1).amsgrad(true), 2);
  expect_same_steps<AdamW>(AdamWOptions(0.1).weight_decay(0.1), 2);
  expect_same_steps<RMSprop>(RMSpropOptions(0.1).momentum(0.5).centered(true), 2);
  expect_same_steps<Adagrad>(AdagradOptions(0.1).lr_decay(0.1), 2);
  expect_same_steps<LBFGS>(LBFGSOptions(0.1).max_iter(3));
  expect_same_steps<LBFGS>(LBFGSOptions(1).max_iter(3).line_search_fn("strong_wolfe"));
}

TEST(OptimizerTest, AGroupsOptionsStayAsTheyAreWhereTheyLookLikeDefaults) {
  Net net;
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(net->parameters());
  torch::optim::SGD optimizer(std::move(groups), torch::optim::SGDOptions(0.1).momentum(0.9));
  static_cast<torch::optim::SGDOptions&>(optimizer.param_groups()[0].options()).momentum(0);
  const auto [net2, optimizer2] = ramet::clone(std::tie(net, optimizer));
  EXPECT_EQ(static_cast<torch::optim::SGDOptions&>(optimizer2->param_groups()[0].options()).momentum(), 0);
  EXPECT_EQ(static_cast<const torch::optim::SGDOptions&>(optimizer2->defaults()).momentum(), 0.9);
}

TEST(OptimizerTest, ASharedParameterKeepsBeingTheSharedOneWithStateOfItsOwn) {
  Net net;
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
  train(net, optimizer, 2);
  auto [net2, optimizer2] = ramet::clone(std::tie(net, optimizer), CloneOptions().share("0.first"));
  const torch::Tensor& shared = optimizer2->param_groups()[0].params()[0];
  EXPECT_TRUE(shared.is_same(net->first->weight));
  const auto momentum = [](torch::optim::SGD& it, const torch::Tensor& parameter) {
    return static_cast<torch::optim::SGDParamState&>(*it.state().at(parameter.unsafeGetTensorImpl())).momentum_buffer();
  };
  EXPECT_TRUE(momentum(*optimizer2, shared).equal(momentum(optimizer, shared)));
  EXPECT_FALSE(momentum(*optimizer2, shared).is_alias_of(momentum(optimizer, shared)));
  EXPECT_TRUE(optimizer2->param_groups()[0].params()[2].is_same(net2->second->weight));
}

TEST(OptimizerTest, PointersKeepTheirKind) {
  Net net;
  auto shared = std::make_shared<torch::optim::Adam>(net->parameters());
  const std::shared_ptr<torch::optim::Optimizer> base = shared;
  const auto unique = std::make_unique<torch::optim::SGD>(net->parameters(), 0.1);
  const std::unique_ptr<torch::optim::SGD> none;
  auto [net2, a, b, c, d] = ramet::clone(std::tie(net, shared, base, unique, none));
  static_assert(std::is_same_v<decltype(c), std::unique_ptr<torch::optim::SGD>>);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, shared);
  EXPECT_NE(dynamic_cast<torch::optim::Adam*>(b.get()), nullptr);
  EXPECT_TRUE(c->param_groups()[0].params()[0].is_same(net2->first->weight));
  EXPECT_EQ(d, nullptr);
}

TEST(OptimizerTest, AParameterOfNoModuleComesAlongAsACopy) {
  Net net;
  torch::Tensor extra = torch::ones({2}, torch::requires_grad());
  torch::optim::SGD optimizer({net->first->weight, extra}, torch::optim::SGDOptions(0.1));
  const auto clone = ramet::clone(std::tie(net, optimizer));
  const torch::Tensor& copy = std::get<1>(clone)->param_groups()[0].params()[1];
  EXPECT_TRUE(copy.equal(extra));
  EXPECT_FALSE(copy.is_alias_of(extra));
  EXPECT_TRUE(copy.requires_grad());
}

TEST(OptimizerTest, StateFollowsItsParametersDtype) {
  Net net;
  torch::optim::Adam optimizer(net->parameters(), torch::optim::AdamOptions(0.1));
  train(net, optimizer, 1);
  auto [net2, optimizer2] = ramet::clone(std::tie(net, optimizer), CloneOptions().dtype(torch::kDouble));
  const auto& state =
      static_cast<torch::optim::AdamParamState&>(*optimizer2->state().at(net2->first->weight.unsafeGetTensorImpl()));
  EXPECT_EQ(state.exp_avg().dtype(), torch::kDouble);
}

TEST(OptimizerTest, TheSourceIsLeftAsItWas) {
  Net net;
  torch::optim::Adam optimizer(net->parameters(), torch::optim::AdamOptions(0.1));
  train(net, optimizer, 2);
  const auto& state =
      static_cast<torch::optim::AdamParamState&>(*optimizer.state().at(net->first->weight.unsafeGetTensorImpl()));
  const torch::Tensor average = state.exp_avg(), before = average.clone();
  auto clone = ramet::clones(std::tie(net, optimizer), 3);
  train(std::get<0>(clone[2]), *std::get<1>(clone[2]), 2);
  EXPECT_TRUE(state.exp_avg().is_same(average));
  EXPECT_TRUE(average.equal(before));
}

struct OtherOptimizer : torch::optim::SGD {
  using SGD::SGD;
};

TEST(OptimizerTest, AnUnknownOrKeptOrTwiceOwnedOneIsAnError) {
  Net net;
  OtherOptimizer other(net->parameters(), torch::optim::SGDOptions(0.1));
  EXPECT_THROW(ramet::clone(std::tie(net, other)), ramet::UncloneableError);
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.1));
  EXPECT_THAT(
      plan_error([&] { ramet::clone(std::tie(net, optimizer), CloneOptions().keep("1")); }),
      StrEq("clone: slot '1': keep names an optimizer, which the clone would then have no way to hold; leave it out "
            "of the session"));
  EXPECT_THAT(plan_error([&] { ramet::clone(std::tie(net, optimizer, optimizer)); }),
              StrEq("clone: one optimizer is twice in the session, and its clone cannot have two owners; hold it by a "
                    "shared_ptr, or name it once"));
}

TEST(OptimizerTest, NoRuleReachesItsState) {
  Net net;
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
  train(net, optimizer, 1);
  const auto plan = ramet::plan(std::tie(net, optimizer));
  EXPECT_EQ(plan.find("1.state.0.momentum_buffer"), nullptr);
  EXPECT_NE(plan.find("1.param_groups.0.params.0"), nullptr);
  EXPECT_TRUE(ramet::catalog(std::tie(net, optimizer)).empty());
  for (const auto& options : {CloneOptions().share(true), CloneOptions().keep("0.first")}) {
    const auto clone = ramet::clone(std::tie(net, optimizer), options);
    const auto& [parameter, made] = *std::get<1>(clone)->state().begin();
    const auto& state = static_cast<const torch::optim::SGDParamState&>(*made);
    for (const auto& [other, theirs] : optimizer.state()) {
      EXPECT_FALSE(state.momentum_buffer().is_alias_of(
          static_cast<const torch::optim::SGDParamState&>(*theirs).momentum_buffer()));
    }
  }
}

TEST(OptimizerTest, AModeThatNamesOneIsAnErrorThatSaysKeep) {
  Net net;
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.1));
  EXPECT_THAT(plan_error([&] { ramet::clone(std::tie(net, optimizer), CloneOptions().share("1")); }),
              HasSubstr("\"1\" names plain state"));
}

TEST(SessionTest, AMemberTensorIsAParameterIfItRequiresGrad) {
  const auto source = std::tuple(torch::ones({2}, torch::requires_grad()), torch::ones({2}));
  const auto clone = ramet::clone(source, CloneOptions().share(ramet::parameters));
  EXPECT_TRUE(std::get<0>(clone).is_same(std::get<0>(source)));
  EXPECT_FALSE(std::get<1>(clone).is_same(std::get<1>(source)));
}

}  // namespace
