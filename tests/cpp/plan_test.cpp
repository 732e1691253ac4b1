/// Rules and plans on hand-made graphs: ranks, ties, conflicts, held and refused nodes, and the layout of blocks.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/errors.h>
#include <ramet/plan.h>
#include <ramet/report.h>

#include <random>

#include "hand_made.h"

namespace ramet::core {
namespace {

using testing::HasSubstr;

// encoder.inner.{w, b}, encoder.w, decoder.w (with a None bias), buffer stat, plain state list.0.
HandMade model() {
  HandMade made;
  made.module("").module("encoder").module("inner").module("decoder").object("list");
  for (const char* name : {"ew", "iw", "ib", "dw", "stat", "plain"}) made.tensor(name, at::ones(4));
  made.slots("", {{child, "encoder", "encoder"},
                  {child, "decoder", "decoder"},
                  {buffer, "stat", "stat"},
                  {state, "list", "list"}});
  made.slots("encoder", {{parameter, "w", "ew"}, {child, "inner", "inner"}});
  made.slots("inner", {{parameter, "w", "iw"}, {parameter, "b", "ib"}});
  made.slots("decoder", {{parameter, "w", "dw"}, {parameter, "bias", ""}});
  made.slots("list", {{state, "0", "plain"}});
  return made;
}

using Asked = std::vector<std::pair<Mode, std::string>>;  // a path, a glob, "True", "Parameter" or "Buffer"

Rules rules_for(const Graph& graph, const Asked& asked) {
  const Paths paths(graph);
  Rules rules;
  for (const auto& [mode, text] : asked) {
    Selection where = text == "True"        ? select_all(text)
                      : text == "Parameter" ? select_kind(SlotKind::parameter, text)
                      : text == "Buffer"    ? select_kind(SlotKind::buffer, text)
                                            : select_path(graph, paths, text, "'" + text + "'");
    rules.modes.push_back({mode, std::move(where)});
  }
  return rules;
}

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

template <class Error>
std::string message(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what_without_backtrace();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
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

TEST(PlanTest, SelectorsThatMatchNothingNameTheNearest) {
  const HandMade made = model();
  EXPECT_THAT(message<PlanError>([&] { shared(made, {{share, "encodr.w"}}); }), HasSubstr("'encoder.w'"));
  EXPECT_THAT(message<PlanError>([&] { shared(made, {{share, "enc*.x"}}); }), HasSubstr("'enc*.x' matches nothing"));
}

TEST(PlanTest, APlainStateSelectorSaysKeep) {
  const HandMade made = model();
  EXPECT_THAT(message<PlanError>([&] { shared(made, {{share, "list"}}); }), HasSubstr("keep='list'"));
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

TEST(PlanTest, OneStorageIsOneBlockAndKeepsItsOffsets) {
  const at::Tensor base = at::ones(8);
  const HandMade made = flat({{"a", base.slice(0, 0, 6)}, {"b", base.slice(0, 4)}, {"c", at::ones(3)}});
  const Plan result = planned(made.graph, {});
  ASSERT_EQ(result.blocks.size(), 2u);
  EXPECT_EQ(result.tensors[0].block, result.tensors[1].block);
  EXPECT_EQ(result.blocks[result.tensors[0].block].bytes, 32);
  EXPECT_EQ(result.tensors[1].offset, 16);
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

TEST(PlanTest, TheReportCountsEachStorageOnce) {
  const HandMade made = tied();
  const ramet::Plan report(made.graph, {}, planned(made.graph, {}));
  EXPECT_EQ(report.size(), 3u);
  EXPECT_EQ(report.nbytes(), 16);
  EXPECT_EQ(report[0].nbytes, 16);
  EXPECT_EQ(report[1].nbytes, 0);
  EXPECT_EQ(report[0].why, "default");
  const Rules rules = rules_for(made.graph, {{share, "embed"}});
  EXPECT_EQ(ramet::Plan(made.graph, rules, planned(made.graph, rules)).find("head.weight")->why, "share='embed'");
}

// The ranks of one slot, said plainly: the best of all rules that name it.
struct Naive {
  const Graph& graph;
  const Rules& rules;

  bool beneath(NodeId outer, NodeId inner) const {
    bool found = false;
    walk_beneath(graph, outer, [&](NodeId node) { return found = found || node == inner, true; });
    return found;
  }
  bool names(const Selection& where, SlotId slot) const {
    const SlotKind kind = graph.slots[slot].kind;
    if (where.rank == Rank::all) return kind == SlotKind::parameter || kind == SlotKind::buffer;
    if (where.rank == Rank::kind) return kind == where.kind;
    return std::count(where.slots.begin(), where.slots.end(), slot) != 0 ||
           std::any_of(where.under.begin(), where.under.end(),
                       [&](NodeId module) { return beneath(module, graph.slots[slot].owner); });
  }
  // The modes that the narrowest rules give a slot, and their rank.
  std::pair<int, std::set<Mode>> of(SlotId slot) const {
    std::vector<const Rule*> best;
    for (const Rule& rule : rules.modes) {
      if (!names(rule.where, slot)) continue;
      if (!best.empty() && rule.where.rank < best[0]->where.rank) continue;
      if (!best.empty() && rule.where.rank > best[0]->where.rank) best.clear();
      best.push_back(&rule);
    }
    std::set<Mode> modes;
    for (const Rule* rule : best) {
      const bool outer = std::any_of(best.begin(), best.end(), [&](const Rule* other) {
        return !rule->where.under.empty() && !other->where.under.empty() && other->where.under != rule->where.under &&
               beneath(rule->where.under[0], other->where.under[0]);
      });
      if (!outer) modes.insert(rule->mode);
    }
    return {best.empty() ? -1 : static_cast<int>(best[0]->where.rank), modes};
  }
};

TEST(PlanTest, RandomRulesAreDecidedAsANaiveReadingDecides) {
  std::mt19937 random(11);
  const auto pick = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
  int conflicts = 0;
  for (int round = 0; round < 500; ++round) {
    HandMade made;  // a random tree of modules, tensors tied at random
    made.module("");
    for (int i = 1; i < 6; ++i) made.module(std::to_string(i));
    for (int i = 0; i < 5; ++i) made.tensor("t" + std::to_string(i), at::ones(2));
    std::vector<std::vector<HandMade::Held>> held(6);
    for (int i = 1; i < 6; ++i) held[pick(i)].push_back({child, "m" + std::to_string(i), std::to_string(i)});
    for (int i = 0; i < 8; ++i)
      held[pick(6)].push_back({pick(2) ? parameter : buffer, "t" + std::to_string(i), "t" + std::to_string(pick(5))});
    for (int i = 0; i < 6; ++i) made.slots(i == 0 ? "" : std::to_string(i), held[i]);
    const Paths paths(made.graph);
    Asked asked;
    for (int i = pick(5); i >= 0; --i) {
      const int kind = pick(6);
      asked.emplace_back(pick(2) ? share : copy,
                         kind == 0   ? "True"
                         : kind == 1 ? "Parameter"
                         : kind == 2 ? "*t" + std::to_string(pick(8))
                                     : paths.path(paths.slots()[pick(static_cast<int>(paths.slots().size()))]));
    }
    Rules rules;
    try {
      rules = rules_for(made.graph, asked);
    } catch (const PlanError&) {
      continue;  // a glob that matches nothing
    }
    const Naive naive{made.graph, rules};
    std::map<NodeId, std::pair<int, std::set<Mode>>> expected;
    for (SlotId slot = 0; slot < made.graph.slots.size(); ++slot) {
      const NodeId target = made.graph.slots[slot].target;
      if (made.graph.nodes[target].kind != NodeKind::tensor) continue;
      const auto [rank, modes] = naive.of(slot);
      auto& [best, all] = expected.try_emplace(target, -1, std::set<Mode>()).first->second;
      if (rank > best) all.clear();
      if (rank >= best) all.insert(modes.begin(), modes.end());
      best = std::max(best, rank);
    }
    const bool conflict =
        std::any_of(expected.begin(), expected.end(), [](const auto& it) { return it.second.second.size() > 1; });
    conflicts += conflict;
    if (conflict) {
      ASSERT_THROW(planned(made.graph, rules), PlanError) << round;
      continue;
    }
    const Plan result = planned(made.graph, rules);
    for (const auto& [node, wanted] : expected) {
      ASSERT_EQ(result.tensors[made.graph.nodes[node].tensor].mode,
                wanted.second.empty() ? copy : *wanted.second.begin())
          << round;
    }
  }
  EXPECT_GT(conflicts, 20);
}

}  // namespace
}  // namespace ramet::core
