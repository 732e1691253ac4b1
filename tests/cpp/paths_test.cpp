/// Paths from hand-made graphs: first names, look-ups by any name, globs.
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/paths.h>

#include "hand_made.h"

namespace ramet::core {
namespace {

using testing::ElementsAre;

std::vector<std::string> names(const Paths& paths, const std::vector<SlotId>& slots) {
  std::vector<std::string> result;
  for (const SlotId slot : slots) result.push_back(paths.path(slot));
  return result;
}

// root: a (a module with w and its child c), b (the same module c again), scale, and a plain reference to a.
HandMade shared_child() {
  HandMade made;
  made.module("").module("a").module("c").object("list");
  made.tensor("scale", at::ones(2)).tensor("w", at::ones(2)).tensor("v", at::ones(2));
  made.slots("", {{child, "a", "a"},
                  {child, "b", "c"},
                  {state, "peer", "a"},
                  {state, "list", "list"},
                  {parameter, "scale", "scale"}});
  made.slots("a", {{child, "c", "c"}, {parameter, "w", "w"}, {parameter, "bias", ""}});
  made.slots("c", {{parameter, "v", "v"}});
  made.slots("list", {{state, "0", "v"}});
  return made;
}

TEST(PathsTest, WalkOrderIsDepthFirstOwnTensorsFirstPlainStateLast) {
  const HandMade made = shared_child();
  const Paths paths(made.graph);
  EXPECT_THAT(names(paths, paths.slots()),
              ElementsAre("scale", "a", "a.w", "a.bias", "a.c", "a.c.v", "b", "peer", "list", "list.0"));
}

TEST(PathsTest, PlainStateIsListedDepthFirst) {
  HandMade made;
  made.module("").module("m").object("x").object("y").object("z").tensor("w", at::ones(1));
  made.slots("", {{state, "x", "x"}, {state, "y", "y"}, {child, "m", "m"}}).slots("m", {{parameter, "w", "w"}});
  made.slots("x", {{state, "0", "z"}, {state, "1", "y"}})
      .slots("y", {{state, "k", "x"}})
      .slots("z", {{state, "k", "x"}});
  const Paths paths(made.graph);
  EXPECT_THAT(names(paths, paths.slots()), ElementsAre("m", "m.w", "x", "x.0", "x.0.k", "x.1", "x.1.k", "y"));
  EXPECT_EQ(paths.path_of(made["y"]), "x.1");
}

TEST(PathsTest, ATensorsAttributesHavePaths) {
  HandMade made;
  made.module("").tensor("w", at::ones(1)).object("tag");
  made.slots("", {{parameter, "w", "w"}}).slots("w", {{state, "tag", "tag"}});
  const Paths paths(made.graph);
  EXPECT_THAT(names(paths, paths.slots()), ElementsAre("w", "w.tag"));
  EXPECT_EQ(paths.find("w.tag")->node, made["tag"]);
}

TEST(PathsTest, SlotsWithoutNamesAndWeakEdgesHaveNoPath) {
  HandMade made;
  made.module("").object("set").object("item").tensor("w", at::ones(1));
  made.slots("", {{state, "set", "set"}, {SlotKind::back, "parent", "set"}});
  const SlotId nameless = made.graph.add_slot(made["set"], state, none, made["item"]);
  made.slots("item", {{state, "w", "w"}});
  const Paths paths(made.graph);
  EXPECT_THAT(names(paths, paths.slots()), ElementsAre("set"));
  EXPECT_EQ(paths.path(nameless), "");
  EXPECT_EQ(paths.path(1), "");
  EXPECT_EQ(paths.path_of(made["w"]), "");
  EXPECT_FALSE(paths.find("parent"));
  EXPECT_TRUE(paths.match("*w").empty());
}

TEST(PathsTest, FindsASlotByAnyOfItsPaths) {
  const HandMade made = shared_child();
  const Paths paths(made.graph);
  const auto first = paths.find("a.c.v"), second = paths.find("b.v"), third = paths.find("peer.c.v");
  ASSERT_TRUE(first && second && third);
  EXPECT_EQ(first->slot, second->slot);
  EXPECT_EQ(first->slot, third->slot);
  EXPECT_EQ(paths.path(second->slot), "a.c.v");
  EXPECT_EQ(paths.path_of(made["c"]), "a.c");
}

TEST(PathsTest, TheEmptyPathIsTheRoot) {
  const HandMade made = shared_child();
  const auto root = Paths(made.graph).find("");
  ASSERT_TRUE(root);
  EXPECT_EQ(root->node, 0u);
  EXPECT_EQ(root->slot, none);
}

TEST(PathsTest, ASlotThatHoldsNoneHasAPlaceWithoutANode) {
  const HandMade made = shared_child();
  const auto place = Paths(made.graph).find("a.bias");
  ASSERT_TRUE(place);
  EXPECT_EQ(place->node, none);
}

TEST(PathsTest, FindsNothingForWrongPaths) {
  const HandMade made = shared_child();
  const Paths paths(made.graph);
  for (const char* path : {"x", "a.x", "a.w.x", "a.bias.x", "a.", ".a", "a..w"}) EXPECT_FALSE(paths.find(path)) << path;
}

TEST(PathsTest, GlobsCrossDotsAndMatchByAnyPath) {
  const HandMade made = shared_child();
  const Paths paths(made.graph);
  const std::vector<std::pair<const char*, std::vector<std::string>>> cases{{"*.v", {"a.c.v"}},
                                                                            {"b.*", {"a.c.v"}},
                                                                            {"a.?", {"a.w", "a.c"}},
                                                                            {"*", names(paths, paths.slots())},
                                                                            {"[ab]", {"a", "b"}},
                                                                            {"[!a]", {"b"}},
                                                                            {"[a-c].[u-w]", {"a.w", "a.c.v"}},
                                                                            {"a.b*s", {"a.bias"}},
                                                                            {"list.*", {"list.0"}},
                                                                            {"x*", {}},
                                                                            {"scale*", {"scale"}}};
  for (const auto& [glob, expected] : cases) EXPECT_EQ(names(paths, paths.match(glob)), expected) << glob;
}

TEST(PathsTest, AGlobOverExponentiallyManyPathsEnds) {
  HandMade made;
  made.module("");
  for (int i = 1; i <= 60; ++i) made.module(std::to_string(i));
  made.tensor("w", at::ones(1));
  for (int i = 0; i < 60; ++i) {
    const std::string next = std::to_string(i + 1);
    made.slots(i == 0 ? "" : std::to_string(i), {{child, "l", next}, {child, "r", next}});
  }
  made.slots("60", {{parameter, "w", "w"}});
  EXPECT_EQ(Paths(made.graph).match("*r.*l.w").size(), 1u);
}

TEST(PathsTest, CyclesAndDeepNestingEnd) {
  HandMade made;
  made.module("");
  constexpr int depth = 50000;
  for (int i = 1; i <= depth; ++i) made.module(std::to_string(i));
  made.tensor("w", at::ones(1));
  for (int i = 0; i < depth; ++i) {
    made.slots(i == 0 ? "" : std::to_string(i), {{child, "m", std::to_string(i + 1)}});
  }
  made.slots(std::to_string(depth), {{child, "root", "1"}, {parameter, "w", "w"}});
  const Paths paths(made.graph);
  EXPECT_EQ(paths.slots().size(), depth + 2u);
  EXPECT_EQ(paths.path_of(made["w"]).size(), 2u * depth + 1);
}

TEST(PathsTest, NearestNamesAreNearestFirst) {
  const HandMade made = shared_child();
  const std::vector<std::string> nearest = Paths(made.graph).nearest("scalle");
  ASSERT_EQ(nearest.size(), 3u);
  EXPECT_EQ(nearest[0], "scale");
}

}  // namespace
}  // namespace ramet::core
