/// differentiable in the core: one node over one copy, where gradients go, and what is refused.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/errors.h>
#include <ramet/materialize.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>

#include "hand_made_rules.h"

namespace ramet::core {
namespace {

using testing::StrEq;

at::Tensor weight(int64_t n, double value = 1) { return at::full({n}, value).set_requires_grad(true); }

std::vector<at::Tensor> clone_of(const HandMade& made, const Asked& asked) {
  const Graph& graph = made.graph;
  return materialize(graph, plan(graph, catalog(graph), rules_for(graph, asked)), 1)[0];
}

std::string error_of(const HandMade& made, const Asked& asked, const std::function<void(Rules&)>& change = {}) {
  return message<PlanError>([&] {
    Rules rules = rules_for(made.graph, asked);
    if (change) change(rules);
    plan(made.graph, catalog(made.graph), rules);
  });
}

TEST(DifferentiableTest, OneNodeJoinsTheCloneToItsSource) {
  const HandMade made = flat({{"w", weight(3)}, {"steps", at::zeros({2}, at::kLong)}, {"b", weight(2)}});
  const std::vector<at::Tensor> clone = clone_of(made, {{Mode::differentiable, "True"}});
  EXPECT_EQ(clone[0].grad_fn(), clone[2].grad_fn());
  EXPECT_EQ(clone[0].grad_fn()->name(), "RametCloneBackward");
  EXPECT_EQ(clone[0].grad_fn()->num_outputs(), 2u);
  EXPECT_FALSE(clone[0].is_leaf());
  EXPECT_TRUE(clone[0].requires_grad());
  EXPECT_TRUE(clone[1].is_leaf());
  EXPECT_FALSE(clone[1].requires_grad());
  EXPECT_TRUE(clone[0].equal(made.graph.tensors[0].value));
  EXPECT_FALSE(clone[0].is_alias_of(made.graph.tensors[0].value));
}

TEST(DifferentiableTest, GradientsGoToTheTensorsOfTheSameNumber) {
  const HandMade made = flat({{"a", weight(3)}, {"b", weight(2)}, {"c", weight(2)}});
  const std::vector<at::Tensor> clone = clone_of(made, {{Mode::differentiable, "True"}});
  (clone[0].sum() * 2 + clone[2].sum() * 3).backward();
  EXPECT_TRUE(made.graph.tensors[0].value.grad().equal(at::full({3}, 2.0)));
  EXPECT_FALSE(made.graph.tensors[1].value.grad().defined());
  EXPECT_TRUE(made.graph.tensors[2].value.grad().equal(at::full({2}, 3.0)));
}

TEST(DifferentiableTest, TheSecondOrderPassesThrough) {
  const HandMade made = flat({{"w", weight(3, 2)}});
  const std::vector<at::Tensor> clone = clone_of(made, {{Mode::differentiable, "w"}});
  const at::Tensor& source = made.graph.tensors[0].value;
  clone[0].pow(3).sum().backward({}, /*retain_graph=*/true, /*create_graph=*/true);
  const at::Tensor first = source.grad();
  EXPECT_TRUE(first.equal(at::full({3}, 12.0)));
  source.mutable_grad().reset();
  first.sum().backward();
  EXPECT_TRUE(source.grad().equal(at::full({3}, 12.0)));
}

TEST(DifferentiableTest, NTimesOneNode) {
  const HandMade made = flat({{"w", weight(3)}});
  const Graph& graph = made.graph;
  const auto clones =
      materialize(graph, plan(graph, catalog(graph), rules_for(graph, {{Mode::differentiable, "w"}})), 3);
  EXPECT_NE(clones[0][0].grad_fn(), clones[1][0].grad_fn());
  (clones[0][0] + clones[1][0] + clones[2][0]).sum().backward();
  EXPECT_TRUE(graph.tensors[0].value.grad().equal(at::full({3}, 3.0)));
}

TEST(DifferentiableTest, CopiesOfWhatIsNoLeafAreLeavesThatTrainInParameterSlotsOnly) {
  HandMade made = flat({{"w", weight(3) * 2}});
  made.module("inner").tensor("t", weight(2) * 2);
  made.slots("inner", {{buffer, "t", "t"}});
  const std::vector<at::Tensor> clone = clone_of(made, {});
  EXPECT_TRUE(clone[0].is_leaf());
  EXPECT_TRUE(clone[0].requires_grad());
  EXPECT_TRUE(clone[1].is_leaf());
  EXPECT_FALSE(clone[1].requires_grad());
}

TEST(DifferentiableTest, AWriteToTheCloneStaysThere) {
  const HandMade made = flat({{"w", weight(3)}});
  const std::vector<at::Tensor> clone = clone_of(made, {{Mode::differentiable, "w"}});
  const at::NoGradGuard no_grad;
  clone[0].fill_(5);
  EXPECT_TRUE(made.graph.tensors[0].value.equal(at::ones(3)));
  made.graph.tensors[0].value.fill_(6);
  EXPECT_TRUE(clone[0].equal(at::full({3}, 5.0)));
}

TEST(DifferentiableTest, NeedsGradMode) {
  const HandMade made = flat({{"w", weight(3)}});
  const std::string text =
      "clone: differentiable='w' is of no use here, where gradients are disabled (no_grad or inference mode): nothing "
      "would flow back to the source; clone outside of it, or use copy";
  {
    const at::NoGradGuard no_grad;
    EXPECT_THAT(error_of(made, {{Mode::differentiable, "w"}}), StrEq(text));
  }
  const c10::InferenceMode inference;
  EXPECT_THAT(error_of(made, {{Mode::differentiable, "w"}}), StrEq(text));
}

TEST(DifferentiableTest, TwoTensorsOverCommonBytesAreAnErrorIfBothRequireGrad) {
  const at::Tensor base = at::ones(6);
  const auto slice = [&](int64_t begin, int64_t end, bool requires_grad) {
    return base.slice(0, begin, end).detach().set_requires_grad(requires_grad);
  };
  const HandMade made = flat({{"a", slice(0, 4, true)}, {"b", slice(2, 6, true)}});
  EXPECT_THAT(error_of(made, {{Mode::differentiable, "True"}}),
              StrEq("clone: slots 'a' and 'b' hold two tensors with bytes in common, and differentiable=True cannot "
                    "keep that: what is written through one would not be in the other's history; untie them, or name "
                    "them in copy or share"));
  const HandMade plain = flat({{"a", slice(0, 4, true)}, {"b", slice(2, 6, false)}});
  const std::vector<at::Tensor> clone = clone_of(plain, {{Mode::differentiable, "True"}});
  EXPECT_TRUE(clone[0].is_alias_of(clone[1]));
  EXPECT_FALSE(clone[1].requires_grad());
}

TEST(DifferentiableTest, WhatCannotBeIsAnErrorThatNamesTheSlot) {
  const std::string slot = "clone: slot 'w': differentiable='w' cannot apply to it: ";
  HandMade made = flat({{"w", weight(3)}});
  EXPECT_THAT(
      error_of(made, {{Mode::differentiable, "w"}}, [](Rules& rules) { rules.freeze.push_back(select_all("True")); }),
      StrEq(slot + "freeze=True names it too, and it requires grad by what it is computed from; name less in "
                   "freeze, or copy it"));
  EXPECT_THAT(error_of(made, {{Mode::differentiable, "w"}}, [](Rules& rules) { rules.device = at::kMeta; }),
              StrEq(slot + "no gradient comes back from device=meta, where nothing has values; drop one of the two"));
  made.graph.tensors[0].trained = true;
  EXPECT_THAT(error_of(made, {{Mode::differentiable, "w"}}),
              StrEq(slot + "an optimizer of the session trains it, and cannot train what is computed; leave the "
                           "optimizer out, and step by assign"));
  const HandMade sparse = flat({{"w", at::eye(3).to_sparse().set_requires_grad(true)}});
  EXPECT_THAT(error_of(sparse, {{Mode::differentiable, "w"}}),
              StrEq(slot + "it is sparse or quantized; name it in copy or share, by its exact path"));
}

}  // namespace
}  // namespace ramet::core
