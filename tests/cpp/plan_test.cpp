/// Rules and plans on hand-made graphs: ranks, ties, conflicts, held and refused nodes, and the layout of blocks.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/errors.h>
#include <ramet/plan.h>

#include "hand_made.h"
#include "hand_made_rules.h"

namespace ramet::core {
namespace {

using testing::HasSubstr;

Plan planned(const Graph& graph, const Rules& rules) { return plan(graph, catalog(graph), rules); }

// The paths of the tensor slots that are shared, in walk order.
std::string shared(const HandMade& made, const Asked& asked) {
  const Plan made_plan = planned(made.graph, rules_for(made.graph, asked));
  const Paths paths(made.graph);
  std::string result;
  for (const SlotId slot : paths.slots()) {
    const NodeId target = made.graph.slots[slot].target;
    if (target == none || made.graph.nodes[target].tensor == none) continue;
    if (made_plan.tensors[made.graph.nodes[target].tensor].mode == Mode::share) {
      result += (result.empty() ? "" : " ") + paths.path(slot);
    }
  }
  return result;
}

constexpr Mode share = Mode::share, copy = Mode::copy;

TEST(PlanTest, TheNarrowerRuleWins) {
  const std::vector<std::pair<Asked, std::string>> cases{
      {{}, ""},
      {{{share, "True"}}, "stat encoder.w encoder.inner.w encoder.inner.b decoder.w"},
      {{{share, "Parameter"}}, "encoder.w encoder.inner.w encoder.inner.b decoder.w"},
      {{{share, "Buffer"}}, "stat"},
      {{{share, "True"}, {copy, "Parameter"}}, "stat"},
      {{{share, "True"}, {copy, "encoder"}}, "stat decoder.w"},
      {{{share, "encoder"}, {copy, "encoder.inner"}}, "encoder.w"},
      {{{copy, "encoder"}, {share, "encoder.inner"}}, "encoder.inner.w encoder.inner.b"},
      {{{share, "*.w"}}, "encoder.w encoder.inner.w decoder.w"},
      {{{share, "*.w"}, {copy, "encoder.inner.w"}}, "encoder.w decoder.w"},
      {{{share, "encoder.inner.b"}, {copy, "encoder"}}, "encoder.inner.b"},
      {{{share, "list.0"}}, "list.0"},
      {{{share, ""}}, "stat encoder.w encoder.inner.w encoder.inner.b decoder.w list.0"},
      {{{share, "decoder.bias"}}, ""},
      {{{share, "encoder"}, {share, "*.w"}}, "encoder.w encoder.inner.w encoder.inner.b decoder.w"}};
  for (const auto& [asked, expected] : cases) EXPECT_EQ(shared(model(), asked), expected);
}

TEST(PlanTest, TwoRulesOfOneRankThatDisagreeAreAnError) {
  const HandMade made = model();
  const std::string text = message<PlanError>([&] { shared(made, {{share, "decoder"}, {copy, "*.w"}}); });
  EXPECT_THAT(text, HasSubstr("slot 'decoder.w': share and copy both name it (share='decoder', copy='*.w')"));
  EXPECT_THROW(shared(made, {{share, "True"}, {copy, "True"}}), PlanError);
  EXPECT_THROW(shared(made, {{share, "encoder.w"}, {copy, "encoder.w"}}), PlanError);
  EXPECT_NO_THROW(shared(made, {{share, "encoder.w"}, {share, "encoder.*"}, {share, "encoder"}}));
}

TEST(PlanTest, ADisagreementBelowTheDecidingRankDoesNotMatter) {
  EXPECT_EQ(shared(model(), {{share, "decoder"}, {copy, "d*.w"}, {share, "decoder.w"}}), "decoder.w");
}

TEST(PlanTest, AModuleUnderTwoParentsIsDecidedByTheInnerOne) {
  HandMade made;
  made.module("").module("a").module("b").module("c").tensor("w", at::ones(1));
  made.slots("", {{child, "a", "a"}, {child, "b", "b"}}).slots("a", {{child, "b", "b"}, {child, "c", "c"}});
  made.slots("b", {{child, "c", "c"}}).slots("c", {{parameter, "w", "w"}});
  EXPECT_EQ(shared(made, {{copy, "a"}, {share, "b"}}), "a.b.c.w");
  EXPECT_EQ(shared(made, {{share, "b"}, {copy, "a"}}), "a.b.c.w");
}

// x lies in b, in c and, through c, in a; c is within a, but b is within neither.
TEST(PlanTest, EveryInnermostModuleMustAgree) {
  HandMade made;
  made.module("").module("a").module("b").module("c").module("x").tensor("w", at::ones(1));
  made.slots("", {{child, "a", "a"}, {child, "b", "b"}}).slots("a", {{child, "c", "c"}, {child, "x", "x"}});
  made.slots("b", {{child, "x", "x"}}).slots("c", {{child, "x", "x"}}).slots("x", {{parameter, "w", "w"}});
  EXPECT_THROW(shared(made, {{share, "a"}, {copy, "b"}, {share, "a.c"}}), PlanError);
  EXPECT_EQ(shared(made, {{copy, "a"}, {share, "b"}, {share, "a.c"}}), "a.c.x.w");
}

HandMade tied() {
  HandMade made;
  made.module("").module("embed").module("head").tensor("w", at::ones(4));
  made.slots("", {{child, "embed", "embed"}, {child, "head", "head"}, {state, "cache", "w"}});
  made.slots("embed", {{parameter, "weight", "w"}}).slots("head", {{parameter, "weight", "w"}});
  return made;
}

TEST(PlanTest, TiedTensorsMoveTogetherByTheHighestRank) {
  EXPECT_EQ(shared(tied(), {{share, "embed"}}), "embed.weight head.weight cache");
  EXPECT_EQ(shared(tied(), {{share, "cache"}, {copy, "embed"}, {copy, "head"}}), "embed.weight head.weight cache");
  EXPECT_EQ(shared(tied(), {{copy, "embed.weight"}, {share, "head"}}), "");
}

TEST(PlanTest, ViewsOfOneStorageMoveTogether) {
  const at::Tensor base = at::ones(8);
  const HandMade made = flat({{"a", base.slice(0, 0, 6)}, {"b", base.slice(0, 4)}, {"c", base.slice(0, 6)}});
  EXPECT_EQ(shared(made, {{share, "a"}}), "a b c");
  EXPECT_EQ(shared(flat({{"a", base.slice(0, 0, 4)}, {"b", base.slice(0, 4)}}), {{share, "a"}}), "a");
}

TEST(PlanTest, TiedNamesGivenDifferentModesAreAnErrorThatNamesEveryPath) {
  const HandMade made = tied();
  const std::string text = message<PlanError>([&] { shared(made, {{share, "embed"}, {copy, "head"}}); });
  EXPECT_THAT(text, HasSubstr("'embed.weight' (share='embed')"));
  EXPECT_THAT(text, HasSubstr("'head.weight' (copy='head')"));
  EXPECT_THAT(text, HasSubstr("'cache'"));
}

TEST(PlanTest, ARefusedNodeIsAnErrorThatSaysKeepUnlessHeld) {
  HandMade made = model();
  made.graph.nodes[made["list"]].fate = Fate::refused;
  made.graph.refusals.push_back({made["list"], "a lock cannot be copied"});
  const std::string text = message<UncloneableError>([&] { shared(made, {}); });
  EXPECT_THAT(text, HasSubstr("'list': a lock cannot be copied"));
  EXPECT_THAT(text, HasSubstr("keep='list'"));
  made.graph.nodes[made["list"]].fate = Fate::held;
  EXPECT_NO_THROW(shared(made, {}));
}

TEST(PlanTest, WhatIsTiedToSomethingHeldIsHeldAndARuleForItIsAnError) {
  const at::Tensor base = at::ones(8);
  HandMade made = flat({{"kept", base}, {"view", base.slice(0, 2)}, {"free", at::ones(1)}});
  made.graph.nodes[made["kept"]].fate = Fate::held;
  const Plan result = planned(made.graph, {});
  EXPECT_TRUE(result.tensors[0].held && result.tensors[1].held);
  EXPECT_FALSE(result.tensors[2].held);
  EXPECT_EQ(result.tensors[1].mode, Mode::share);
  EXPECT_THROW(shared(made, {{copy, "kept"}}), PlanError);
}

TEST(PlanTest, ARuleBeneathAKeptModuleSaysWhatKeepsIt) {
  HandMade made = model();
  for (const char* name : {"encoder", "inner", "ew", "iw", "ib"}) made.graph.nodes[made[name]].fate = Fate::held;
  const auto planned_with = [&](const Asked& asked) {
    Rules rules = rules_for(made.graph, asked);
    rules.keep.push_back({Rank::module, parameter, "'list'", {made["list"]}, {}});
    rules.keep.push_back({Rank::module, parameter, "'encoder'", {made["encoder"]}, {}});
    planned(made.graph, rules);
  };
  EXPECT_EQ(message<PlanError>([&] {
              planned_with({{share, "encoder.inner"}});
            }),
            "clone: share='encoder.inner' names what keep='encoder' already keeps whole; drop it, or keep less");
  EXPECT_EQ(message<PlanError>([&] {
              planned_with({{copy, "encoder.inner.b"}});
            }),
            "clone: copy='encoder.inner.b' names what keep='encoder' already keeps whole; drop it, or keep less");
  EXPECT_NO_THROW(planned_with({{copy, "True"}, {share, "*.w"}, {copy, "list.0"}}));
}

TEST(PlanTest, WhatIsRefusedWhereNoPathLeadsIsNamedByItsOwner) {
  HandMade made;
  made.module("").object("set").object("lock");
  made.slots("", {{state, "set", "set"}});
  made.graph.add_slot(made["set"], state, none, made["lock"]);
  made.graph.nodes[made["lock"]].fate = Fate::refused;
  made.graph.refusals.push_back({made["lock"], "a lock cannot be copied"});
  EXPECT_EQ(message<UncloneableError>([&] { planned(made.graph, {}); }),
            "clone: slot 'set': a lock cannot be copied; keep='set' lets the clone hold the source's own");
  HandMade root;
  root.module("");
  root.graph.nodes[0].fate = Fate::refused;
  root.graph.refusals.push_back({0, "it lists no members"});
  EXPECT_EQ(message<UncloneableError>([&] { planned(root.graph, {}); }),
            "clone: the source itself: it lists no members");
}

TEST(PlanTest, TensorsWithoutPlainBytesHaveNoBlock) {
  const HandMade made = flat({{"meta", at::empty({4}, at::kMeta)},
                              {"sparse", at::ones({4}).to_sparse()},
                              {"zero", at::_efficientzerotensor({4}, at::kFloat)},
                              {"plain", at::ones({4})}});
  const Plan result = planned(made.graph, {});
  ASSERT_EQ(result.blocks.size(), 1u);
  for (TensorId id = 0; id < 3; ++id) EXPECT_EQ(result.tensors[id].block, none);
  EXPECT_EQ(result.tensors[3].block, 0u);
}

TEST(PlanTest, DifferentPartsOfOneStorageAreBlocksOfTheirOwn) {
  const at::Tensor base = at::ones(4);
  HandMade made = flat({{"a", base}, {"b", base}});
  made.graph.tensors[1].part = 1;
  const Plan result = planned(made.graph, {});
  ASSERT_EQ(result.blocks.size(), 2u);
  EXPECT_NE(result.tensors[0].block, result.tensors[1].block);
}

TEST(PlanTest, AStorageSmallerThanItsTensorsIsCopiedWhole) {
  const at::Tensor resized = at::ones(100);
  resized.storage().unsafeGetStorageImpl()->set_nbytes(8);
  const Plan result = planned(flat({{"a", resized}}).graph, {});
  ASSERT_EQ(result.blocks.size(), 1u);
  EXPECT_EQ(result.blocks[0].bytes, 8);
}

TEST(PlanTest, OneStorageIsOneBlockAndKeepsItsOffsets) {
  const at::Tensor base = at::ones(8);
  const HandMade made = flat({{"a", base.slice(0, 0, 6)}, {"b", base.slice(0, 4)}, {"c", at::ones(3)}});
  const Plan result = planned(made.graph, {});
  ASSERT_EQ(result.blocks.size(), 2u);
  EXPECT_EQ(result.tensors[0].block, result.tensors[1].block);
  EXPECT_EQ(result.blocks[result.tensors[0].block].bytes, 32);
  EXPECT_EQ(result.tensors[1].offset, 16);
}

TEST(PlanTest, CompactedOffsetsSuitEveryItemSize) {
  const at::Tensor big = at::zeros({100000}, at::kByte);
  const at::Tensor bytes = big.slice(0, 5, 30), doubles = big.view(at::kDouble).slice(0, 2, 6);
  const Plan result = planned(flat({{"bytes", bytes}, {"doubles", doubles}}).graph, {});
  EXPECT_LT(result.blocks[0].bytes, 200);
  EXPECT_EQ(result.tensors[1].offset % 8, 0);
  EXPECT_EQ(result.tensors[1].offset - result.tensors[0].offset, 11);
}

TEST(PlanTest, AStorageOfWhichLittleIsUsedIsCompacted) {
  const at::Tensor big = at::ones(1000000);
  const HandMade one = flat({{"a", big.slice(0, 0, 4)}});
  EXPECT_EQ(planned(one.graph, {}).blocks[0].bytes, 16);
  const HandMade two =
      flat({{"a", big.slice(0, 5, 9)}, {"b", big.slice(0, 500001, 500003)}, {"c", big.slice(0, 6, 12)}});
  const Plan result = planned(two.graph, {});
  EXPECT_LT(result.blocks[0].bytes, 200);
  EXPECT_EQ(result.tensors[2].offset - result.tensors[0].offset, 4);
  for (const Decision& decision : result.tensors) EXPECT_EQ(decision.offset % 4, 0);
  EXPECT_EQ(planned(flat({{"a", big.slice(0, 0, 500000)}}).graph, {}).blocks[0].bytes, 4000000);
}

}  // namespace
}  // namespace ramet::core
