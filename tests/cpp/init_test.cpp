/// init in the core: which modules are initialised, in which order, on what, and what is refused.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/errors.h>
#include <ramet/init.h>
#include <ramet/materialize.h>

#include "hand_made_rules.h"

namespace ramet::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::StrEq;

/// The rules, with an initialiser of their own for the modules named, or with one for all.
Plan plan_of(const HandMade& made, const Asked& asked, const std::vector<std::string>& resets, bool for_all = false) {
  Rules rules = rules_for(made.graph, asked);
  for (const std::string& name : resets) rules.resets.push_back(made[name]);
  rules.initializer = for_all;
  return plan(made.graph, catalog(made.graph), rules);
}

std::string error_of(const HandMade& made, const Asked& asked, const std::vector<std::string>& resets,
                     bool for_all = false) {
  return message<PlanError>([&] { plan_of(made, asked, resets, for_all); });
}

TEST(InitTest, OwnersInTheOrderInWhichTheyWereBuilt) {
  const HandMade made = model();
  EXPECT_THAT(plan_of(made, {{Mode::init, "True"}}, {}, true).init,
              ElementsAre(made["inner"], made["encoder"], made["decoder"], made[""]));
  EXPECT_THAT(plan_of(made, {{Mode::init, "encoder.*"}}, {"encoder", "inner"}).init,
              ElementsAre(made["inner"], made["encoder"]));
  EXPECT_THAT(plan_of(made, {{Mode::init, "encoder.inner.b"}}, {"inner", "encoder"}).init, ElementsAre(made["inner"]));
  EXPECT_THAT(plan_of(made, {{Mode::share, "True"}}, {"inner"}).init, IsEmpty());
}

TEST(InitTest, AContainerInitialisesIfAllBeneathItIsInit) {
  HandMade made;
  made.module("").module("a").module("b").tensor("x", at::ones(2)).tensor("y", at::ones(2));
  made.slots("", {{child, "a", "a"}, {child, "b", "b"}});
  made.slots("a", {{parameter, "x", "x"}});
  made.slots("b", {{parameter, "y", "y"}});
  EXPECT_THAT(plan_of(made, {{Mode::init, "True"}}, {"", "a", "b"}).init, ElementsAre(made["a"], made["b"], made[""]));
  EXPECT_THAT(plan_of(made, {{Mode::init, "a"}}, {"", "a", "b"}).init, ElementsAre(made["a"]));
  EXPECT_THAT(plan_of(made, {{Mode::init, "True"}}, {}, true).init, ElementsAre(made["a"], made["b"]));
}

TEST(InitTest, WhatIsInPlainStateBelongsToTheNearestModule) {
  const HandMade made = model();
  EXPECT_THAT(plan_of(made, {{Mode::init, "list.0"}}, {""}).init, ElementsAre(made[""]));
}

TEST(InitTest, TheScratchCopiesEverythingAsItShallBe) {
  const HandMade made = flat({{"w", at::ones(3)}, {"shared", at::ones(3)}, {"meta", at::ones(3)}});
  Rules rules = rules_for(made.graph, {{Mode::init, "w"}, {Mode::share, "shared"}, {Mode::meta, "meta"}});
  rules.initializer = true;
  const Plan decided = plan(made.graph, catalog(made.graph), rules);
  const std::vector<at::Tensor> scratch = materialize(made.graph, plan_scratch(made.graph, decided), 1)[0];
  for (std::size_t i = 0; i < scratch.size(); ++i) {
    EXPECT_TRUE(scratch[i].equal(at::ones(3)));
    EXPECT_FALSE(scratch[i].is_alias_of(made.graph.tensors[i].value));
    scratch[i].fill_(5);
  }
  const std::vector<at::Tensor> clone = materialize(made.graph, decided, 1)[0];
  put_fresh(made.graph, decided, scratch, clone);
  EXPECT_TRUE(clone[0].equal(at::full({3}, 5.0)));
  EXPECT_FALSE(clone[0].is_alias_of(scratch[0]));
  EXPECT_TRUE(clone[1].equal(at::ones(3)));
  EXPECT_TRUE(made.graph.tensors[0].value.equal(at::ones(3)));
}

TEST(InitTest, ValuesForASkeletonStandWhereTheyShall) {
  const HandMade made = flat({{"w", at::empty({3}, at::TensorOptions().device(at::kMeta).dtype(at::kDouble))}});
  Rules rules = rules_for(made.graph, {{Mode::init, "w"}});
  rules.initializer = true;
  rules.device = at::kCPU;
  const Plan decided = plan(made.graph, catalog(made.graph), rules);
  EXPECT_TRUE(materialize(made.graph, plan_scratch(made.graph, decided), 1)[0][0].equal(at::zeros({3}, at::kDouble)));
  rules.modes[0].mode = Mode::copy;
  rules.initializer = false;
  EXPECT_THAT(message<PlanError>([&] { plan(made.graph, catalog(made.graph), rules); }),
              StrEq("clone: slot 'w' (meta, Double): device=cpu cannot apply to it: it has no values to bring along: "
                    "give it some by init, or load them into a clone that stays on meta"));
}

TEST(InitTest, SomeNamesOfATiedTensorAreAnError) {
  HandMade made;
  made.module("").module("a").tensor("w", at::ones(2));
  made.slots("", {{child, "a", "a"}, {parameter, "head", "w"}});
  made.slots("a", {{parameter, "w", "w"}});
  const std::string text =
      "clone: init='a' names 'a.w', which is tied to 'head': that would be initialised too; name it in init as well, "
      "or say untie='a.w' for a tensor of its own there";
  EXPECT_THAT(error_of(made, {{Mode::init, "a"}}, {"a", ""}), StrEq(text));
  EXPECT_THAT(plan_of(made, {{Mode::init, "True"}}, {"a", ""}).init, ElementsAre(made["a"], made[""]));
}

TEST(InitTest, WhoCannotBeInitialisedIsNamed) {
  const HandMade made = model();
  EXPECT_THAT(error_of(made, {{Mode::init, "encoder"}}, {"encoder"}),
              StrEq("clone: module 'encoder.inner' has neither reset_parameters nor _reset_parameters, and "
                    "init='encoder' names tensors of it; give initializer, or name them in copy or share"));
  EXPECT_THAT(error_of(made, {}, {}, true),
              StrEq("clone: initializer is given without init, which says what is to be initialised: give init too"));
}

TEST(InitTest, AnotherShapeIsAnError) {
  const HandMade made = flat({{"w", at::ones(3)}});
  const Plan decided = plan_of(made, {{Mode::init, "w"}}, {}, true);
  const std::vector<at::Tensor> clone = materialize(made.graph, decided, 1)[0];
  EXPECT_THAT(
      message<PlanError>([&] { put_fresh(made.graph, decided, {at::ones(4)}, clone); }),
      StrEq("clone: slot 'w': its initialiser has made it [4], and it is [3]; what it initialises must keep its "
            "shape"));
}

}  // namespace
}  // namespace ramet::core
