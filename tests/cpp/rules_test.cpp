/// Selections from paths, globs, kinds, types and nodes: what each names, at which rank, and what is no selector.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/errors.h>
#include <ramet/rules.h>

#include "hand_made.h"
#include "hand_made_rules.h"

namespace ramet::core {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

Selection selected(const HandMade& made, const std::string& text) {
  const Paths paths(made.graph);
  return select_path(made.graph, paths, text, "'" + text + "'");
}

std::vector<std::string> slots_of(const HandMade& made, const Selection& selection) {
  const Paths paths(made.graph);
  std::vector<std::string> result;
  for (const SlotId slot : selection.slots) result.push_back(paths.path(slot));
  return result;
}

TEST(RulesTest, EveryModeHasTheWordThatItsOptionHas) {
  EXPECT_EQ(to_string(Mode::copy), "copy");
  EXPECT_EQ(to_string(Mode::share), "share");
  EXPECT_EQ(to_string(Mode::alias), "alias");
  EXPECT_EQ(to_string(Mode::lazy), "lazy");
  EXPECT_EQ(to_string(Mode::differentiable), "differentiable");
  EXPECT_EQ(to_string(Mode::init), "init");
  EXPECT_EQ(to_string(Mode::meta), "meta");
}

TEST(RulesTest, RanksGoFromAllToTensor) {
  EXPECT_EQ(select_all("True").rank, Rank::all);
  EXPECT_EQ(select_kind(SlotKind::buffer, "nn.Buffer").rank, Rank::kind);
  EXPECT_EQ(select_type({1}, "nn.Linear").rank, Rank::type);
  EXPECT_LT(Rank::all, Rank::kind);
  EXPECT_LT(Rank::kind, Rank::type);
  EXPECT_LT(Rank::type, Rank::module);
  EXPECT_LT(Rank::module, Rank::tensor);
}

TEST(RulesTest, APathToAModuleNamesAllBeneathIt) {
  const HandMade made = model();
  const Selection encoder = selected(made, "encoder");
  EXPECT_EQ(encoder.rank, Rank::module);
  EXPECT_THAT(encoder.under, ElementsAre(made["encoder"]));
  EXPECT_THAT(encoder.slots, IsEmpty());
  EXPECT_EQ(encoder.text, "'encoder'");
  EXPECT_THAT(selected(made, "").under, ElementsAre(0u));
}

TEST(RulesTest, APathToATensorNamesThatSlotWhetherRegisteredOrNot) {
  const HandMade made = model();
  for (const char* path : {"encoder.inner.w", "stat", "list.0"}) {
    const Selection selection = selected(made, path);
    EXPECT_EQ(selection.rank, Rank::tensor) << path;
    EXPECT_THAT(slots_of(made, selection), ElementsAre(path));
    EXPECT_THAT(selection.under, IsEmpty());
  }
}

TEST(RulesTest, ASlotThatHoldsNoneIsMatchedAndNamesNothing) {
  const Selection selection = selected(model(), "decoder.bias");
  EXPECT_THAT(selection.slots, IsEmpty());
  EXPECT_THAT(selection.under, IsEmpty());
}

TEST(RulesTest, AGlobNamesTensorSlotsAtTheRankOfAModule) {
  const HandMade made = model();
  const Selection selection = selected(made, "*");
  EXPECT_EQ(selection.rank, Rank::module);
  EXPECT_THAT(slots_of(made, selection), ElementsAre("stat", "encoder.w", "encoder.inner.w", "encoder.inner.b",
                                                     "decoder.w", "decoder.bias", "list.0"));
  EXPECT_THAT(slots_of(made, selected(made, "*.bias")), ElementsAre("decoder.bias"));
}

TEST(RulesTest, ANameThatHasAGlobsCharactersIsFoundAsItIs) {
  const HandMade made = flat({{"w[0]", at::ones(1)}, {"w0", at::ones(1)}});
  EXPECT_THAT(slots_of(made, selected(made, "w[0]")), ElementsAre("w[0]"));
  EXPECT_THAT(slots_of(made, selected(made, "w[0-9]")), ElementsAre("w0"));
}

TEST(RulesTest, ASessionsMembersAreNamedAsModulesAre) {
  HandMade made;
  made.object("").module("m").object("optimizer").tensor("w", at::ones(2)).tensor("momentum", at::ones(2));
  made.slots("", {{child, "0", "m"}, {child, "1", "optimizer"}});
  made.slots("m", {{parameter, "w", "w"}}).slots("optimizer", {{state, "w", "w"}, {state, "m", "momentum"}});
  EXPECT_THAT(selected(made, "1").under, ElementsAre(made["optimizer"]));
  EXPECT_THAT(select_node(made.graph, made["optimizer"], "<SGD>").under, ElementsAre(made["optimizer"]));
  EXPECT_THAT(selected(made, "").under, ElementsAre(0u));
}

TEST(RulesTest, ANodeIsNamedByAllItsSlots) {
  HandMade made;
  made.module("").module("m").tensor("w", at::ones(2));
  made.slots("", {{child, "m", "m"}, {parameter, "w", "w"}, {state, "cache", "w"}}).slots("m", {{parameter, "v", "w"}});
  const Selection tensor = select_node(made.graph, made["w"], "<Tensor>");
  EXPECT_EQ(tensor.rank, Rank::tensor);
  EXPECT_THAT(slots_of(made, tensor), ElementsAre("w", "cache", "m.v"));
  const Selection module = select_node(made.graph, made["m"], "<M>");
  EXPECT_EQ(module.rank, Rank::module);
  EXPECT_THAT(module.under, ElementsAre(made["m"]));
}

TEST(RulesTest, WhatMatchesNothingIsAnErrorThatNamesTheNearest) {
  const HandMade made = model();
  EXPECT_EQ(message<PlanError>([&] { selected(made, "encodr.w"); }),
            "clone: 'encodr.w' matches nothing; the nearest names are 'encoder.w', 'encoder', 'decoder.w'");
  EXPECT_THAT(message<PlanError>([&] { selected(made, "enc*.x"); }),
              AllOf(HasSubstr("'enc*.x' matches nothing"), HasSubstr("'encoder")));
  EXPECT_EQ(message<PlanError>([&] { select_type({}, "nn.LSTM"); }),
            "clone: nn.LSTM matches nothing: the source has no module of that type");
}

TEST(RulesTest, AModelWithoutNamesHasNoNearest) {
  HandMade made;
  made.module("");
  EXPECT_EQ(message<PlanError>([&] { selected(made, "w"); }), "clone: 'w' matches nothing");
}

TEST(RulesTest, PlainStateIsAnErrorThatSaysKeep) {
  const HandMade made = model();
  for (const char* text : {"list", "l?st"}) {
    const std::string quoted = "'" + std::string(text) + "'";
    EXPECT_THAT(message<PlanError>([&] { selected(made, text); }),
                AllOf(HasSubstr(quoted + " names plain state"), HasSubstr("keep=" + quoted)));
  }
  EXPECT_THAT(message<PlanError>([&] { select_node(made.graph, made["list"], "<list>"); }), HasSubstr("keep=<list>"));
}

TEST(RulesTest, AGlobThatMatchesModulesOnlySaysHowToNameWhatIsInThem) {
  EXPECT_THAT(message<PlanError>([&] { selected(model(), "?ncoder"); }),
              AllOf(HasSubstr("'?ncoder' matches modules only ('encoder')"), Not(HasSubstr("keep"))));
}

TEST(RulesTest, NamedSlotsAreAllThatHoldATensorWhicheverRuleWins) {
  const HandMade made = model();
  const Paths paths(made.graph);
  const auto named = [&](const Asked& asked) {
    std::vector<std::string> result;
    for (const SlotId slot : named_slots(made.graph, rules_for(made.graph, asked))) result.push_back(paths.path(slot));
    return result;
  };
  EXPECT_THAT(named({{Mode::share, "decoder"}}), ElementsAre("decoder.w"));
  EXPECT_THAT(named({{Mode::share, "*.b"}, {Mode::share, "list.0"}}), ElementsAre("encoder.inner.b", "list.0"));
  EXPECT_THAT(named({{Mode::share, "Buffer"}, {Mode::copy, "stat"}}), ElementsAre("stat"));
  EXPECT_THAT(named({{Mode::share, "decoder.bias"}}), IsEmpty());
}

}  // namespace
}  // namespace ramet::core
