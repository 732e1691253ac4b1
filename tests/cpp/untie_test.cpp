/// Untying: which nodes a graph gets, and that nothing else of it changes.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/catalog.h>
#include <ramet/errors.h>
#include <ramet/untie.h>

#include "hand_made.h"

namespace ramet::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<NodeId> untied(HandMade& made, std::initializer_list<const char*> names) {
  const Paths paths(made.graph);
  std::vector<Selection> where;
  for (const char* name : names) where.push_back(select_tied(made.graph, paths, name, std::string("'") + name + "'"));
  return untie(made.graph, where);
}

NodeId at(const HandMade& made, std::string_view path) { return Paths(made.graph).find(path)->node; }

std::string error_of(HandMade& made, const char* name) {
  try {
    untied(made, {name});
  } catch (const PlanError& error) {
    return error.what_without_backtrace();
  }
  return "no error";
}

/// a.w and b.w are one tensor; b also refers to it in a list.
HandMade tied() {
  HandMade made;
  made.module("").module("a").module("b").object("list").tensor("w", at::ones(2)).tensor("v", at::ones(2));
  made.slots("", {{child, "a", "a"}, {child, "b", "b"}});
  made.slots("a", {{parameter, "w", "w"}, {parameter, "v", "v"}});
  made.slots("b", {{parameter, "w", "w"}, {state, "flat", "list"}});
  made.slots("list", {{state, "0", "w"}});
  return made;
}

TEST(UntieTest, ASlotGetsATensorOfAnotherPart) {
  HandMade made = tied();
  EXPECT_THAT(untied(made, {"b.w"}), ElementsAre(made["w"]));
  EXPECT_EQ(at(made, "a.w"), made["w"]);
  EXPECT_NE(at(made, "b.w"), made["w"]);
  const Tensor& own = made.graph.tensors[made.graph.nodes[at(made, "b.w")].tensor];
  EXPECT_TRUE(own.value.is_same(made.graph.tensors[made.tensor_id("w")].value));
  EXPECT_NE(own.part, made.graph.tensors[made.tensor_id("w")].part);
  EXPECT_THAT(catalog(made.graph).ties, IsEmpty());
}

TEST(UntieTest, PlainReferencesFollowTheSlotOfTheirModule) {
  HandMade made = tied();
  untied(made, {"b.w"});
  EXPECT_EQ(at(made, "b.flat.0"), at(made, "b.w"));
  HandMade other = tied();
  untied(other, {"a.w"});
  EXPECT_EQ(at(other, "b.flat.0"), at(other, "b.w"));
}

TEST(UntieTest, WhereEveryNameIsGivenOneKeepsTheNode) {
  HandMade made = tied();
  EXPECT_EQ(untied(made, {"a.w", "b.w"}).size(), 1u);
  EXPECT_THAT(catalog(made.graph).ties, IsEmpty());
}

TEST(UntieTest, AViewBecomesATensorOfAnotherPart) {
  const at::Tensor base = at::ones(4);
  HandMade made = flat({{"base", base}, {"part", base.slice(0, 1, 3)}});
  EXPECT_THAT(untied(made, {"part"}), IsEmpty());
  EXPECT_THAT(catalog(made.graph).ties, IsEmpty());
}

TEST(UntieTest, AModuleGetsATwinWithAllBeneathItAndItsInnerTies) {
  HandMade made;
  made.module("").module("m").module("n").tensor("w", at::ones(2));
  made.slots("", {{child, "a", "m"}, {child, "b", "m"}});
  made.slots("m", {{child, "n", "n"}});
  made.slots("n", {{parameter, "w", "w"}, {parameter, "again", "w"}, {SlotKind::back, "up", "m"}});
  EXPECT_THAT(untied(made, {"b"}), ElementsAre(made["m"], made["n"], made["w"]));
  EXPECT_EQ(at(made, "a"), made["m"]);
  const NodeId twin = at(made, "b");
  EXPECT_NE(twin, made["m"]);
  EXPECT_EQ(at(made, "b.n.w"), at(made, "b.n.again"));
  EXPECT_NE(at(made, "b.n.w"), at(made, "a.n.w"));
  EXPECT_EQ(made.graph.slots_of(at(made, "b.n"))[2].target, twin);
  ASSERT_EQ(catalog(made.graph).ties.size(), 2u);
}

TEST(UntieTest, EverythingUntiedLeavesNoTie) {
  HandMade made;
  made.module("").module("m").module("n").tensor("w", at::ones(2)).tensor("v", at::ones(2));
  made.slots("", {{child, "a", "m"}, {child, "b", "m"}, {parameter, "v", "v"}});
  made.slots("m", {{child, "n", "n"}, {child, "again", "n"}, {parameter, "v", "v"}});
  made.slots("n", {{parameter, "w", "w"}, {parameter, "x", "w"}});
  untie(made.graph, {select_all_tied(made.graph, "True")});
  EXPECT_THAT(catalog(made.graph).ties, IsEmpty());
}

TEST(UntieTest, WhatIsNotTiedIsAnError) {
  HandMade made = tied();
  EXPECT_EQ(error_of(made, "a.v"), "clone: untie='a.v' names a slot that is not tied to anything; drop it");
  EXPECT_EQ(error_of(made, "b.flat.0"), "clone: untie='b.flat.0' names a slot that is not tied to anything; drop it");
  EXPECT_EQ(error_of(made, "a.x"), "clone: untie='a.x' matches nothing; the nearest names are 'a.w', 'a.v', 'a'");
  EXPECT_EQ(error_of(made, "a.v*"), "clone: untie='a.v*' matches no tensor that is tied");
}

TEST(UntieTest, BeneathWhatIsKeptItIsAnError) {
  HandMade made = tied();
  made.graph.nodes[made["b"]].fate = Fate::held;
  EXPECT_EQ(
      error_of(made, "b.w"),
      "clone: slot 'b.w': untie names it, and keep keeps what it holds, with the module that it is in: it cannot have "
      "both; drop one of the two, or share its other names instead of keeping them");
}

}  // namespace
}  // namespace ramet::core
