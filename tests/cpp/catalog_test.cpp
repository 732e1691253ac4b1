/// What is tied and what is not, on hand-made graphs; and exact overlap against element sets.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <ramet/catalog.h>
#include <ramet/paths.h>

#include <random>
#include <set>

#include "hand_made.h"

namespace ramet::core {
namespace {

std::vector<std::vector<std::string>> ties_of(const Graph& graph) {
  const Paths paths(graph);
  std::vector<std::vector<std::string>> result;
  for (const Tie& tie : catalog(graph).ties) {
    auto& names = result.emplace_back();
    for (const SlotId slot : tie.slots) names.push_back(paths.path(slot));
  }
  return result;
}

using Names = std::vector<std::vector<std::string>>;

TEST(CatalogTest, OneTensorUnderTwoNamesIsATie) {
  HandMade made;
  made.module("").module("embed").module("head").tensor("w", at::ones({10, 4}));
  made.slots("", {{child, "embed", "embed"}, {child, "head", "head"}});
  made.slots("embed", {{parameter, "weight", "w"}})
      .slots("head", {{parameter, "weight", "w"}, {parameter, "bias", ""}});
  const Catalog found = catalog(made.graph);
  EXPECT_EQ(ties_of(made.graph), (Names{{"embed.weight", "head.weight"}}));
  EXPECT_EQ(found.ties[0].kind, TieKind::tensor);
  EXPECT_EQ(found.ties[0].nbytes, 160);
}

TEST(CatalogTest, AModuleWithTwoNamesIsOneTieAndItsTensorsAreNotListed) {
  HandMade made;
  made.module("").module("m").tensor("w", at::ones({8})).tensor("view", at::Tensor(at::ones(2)));
  made.slots("", {{child, "a", "m"}, {child, "b", "m"}}).slots("m", {{parameter, "w", "w"}, {buffer, "view", "view"}});
  const Catalog found = catalog(made.graph);
  EXPECT_EQ(ties_of(made.graph), (Names{{"a", "b"}}));
  EXPECT_EQ(found.ties[0].kind, TieKind::module);
  EXPECT_EQ(found.ties[0].nbytes, 40);
}

TEST(CatalogTest, SlotsThatHoldNoneAreNotTied) {
  HandMade made;
  made.module("").slots("", {{parameter, "a", ""}, {parameter, "b", ""}, {child, "c", ""}, {child, "d", ""}});
  EXPECT_TRUE(catalog(made.graph).ties.empty());
}

TEST(CatalogTest, ZeroElementAndMetaTensorsAreNotTied) {
  const at::Tensor base = at::ones({4, 4});
  const at::Tensor meta = at::empty({4}, at::kMeta);
  EXPECT_TRUE(catalog(flat({{"a", base.slice(0, 2, 2)}, {"b", base}}).graph).ties.empty());
  EXPECT_TRUE(
      catalog(flat({{"a", meta}, {"b", at::empty({4}, at::kMeta)}, {"c", meta.view({2, 2})}}).graph).ties.empty());
}

TEST(CatalogTest, OneMetaTensorUnderTwoNamesIsATie) {
  HandMade made;
  made.module("").tensor("w", at::empty({4}, at::kMeta));
  made.slots("", {{parameter, "a", "w"}, {parameter, "b", "w"}});
  EXPECT_EQ(ties_of(made.graph), (Names{{"a", "b"}}));
}

TEST(CatalogTest, DisjointSlicesOfOneStorageAreNotTied) {
  const at::Tensor base = at::ones({10});
  EXPECT_TRUE(catalog(flat({{"a", base.slice(0, 0, 5)}, {"b", base.slice(0, 5)}}).graph).ties.empty());
}

TEST(CatalogTest, EvenAndOddColumnsAreNotTied) {
  const at::Tensor base = at::ones({6, 8});
  const auto even = base.slice(1, 0, 8, 2), odd = base.slice(1, 1, 8, 2);
  EXPECT_TRUE(catalog(flat({{"even", even}, {"odd", odd}}).graph).ties.empty());
  EXPECT_TRUE(catalog(flat({{"left", base.slice(1, 0, 4)}, {"right", base.slice(1, 4)}}).graph).ties.empty());
}

// Too many elements to compare one by one: twenty million in each.
TEST(CatalogTest, LargeStridedBlocksAreDecidedWithoutTheirElements) {
  const at::Tensor base = at::empty({40000, 3000}, at::kByte);
  const auto left = base.slice(1, 0, 1000, 2), right = base.slice(1, 1000, 2000, 2), threes = base.slice(1, 1, 999, 3);
  EXPECT_FALSE(overlap(left, right));
  EXPECT_TRUE(overlap(left, threes));
  EXPECT_FALSE(overlap(left, base.slice(1, 1, 999, 6)));
  EXPECT_TRUE(overlap(left, base.t().slice(0, 998, 2000, 7)));
}

TEST(CatalogTest, BytesThatOneTensorUsesTwiceAreNotInCommonByThat) {
  const at::Tensor base = at::ones({12});
  const at::Tensor windows = base.as_strided({3, 4}, {2, 1}, 0);
  const Catalog found = catalog(flat({{"windows", windows}, {"last", base.slice(0, 7)}}).graph);
  ASSERT_EQ(found.ties.size(), 1u);
  EXPECT_EQ(found.ties[0].nbytes, 4);
}

TEST(CatalogTest, OverlappingWindowsAndATransposeAreTied) {
  const at::Tensor base = at::ones({10}), matrix = at::ones({3, 5});
  const HandMade windows = flat({{"a", base.slice(0, 0, 6)}, {"b", base.slice(0, 4)}});
  EXPECT_EQ(ties_of(windows.graph), (Names{{"a", "b"}}));
  EXPECT_EQ(catalog(windows.graph).ties[0].kind, TieKind::storage);
  EXPECT_EQ(catalog(windows.graph).ties[0].nbytes, 8);
  EXPECT_EQ(ties_of(flat({{"m", matrix}, {"t", matrix.t()}}).graph), (Names{{"m", "t"}}));
}

// The second ends before the first does: the last one met is not the one that reaches farthest.
TEST(CatalogTest, ALongTensorTiesWhatFollowsAShortOne) {
  const at::Tensor base = at::ones({100});
  const HandMade made = flat({{"long", base}, {"short", base.slice(0, 1, 2)}, {"late", base.slice(0, 50, 60)}});
  EXPECT_EQ(ties_of(made.graph), (Names{{"long", "short", "late"}}));
  EXPECT_EQ(catalog(made.graph).ties[0].nbytes, 44);
}

TEST(CatalogTest, ASlotIsInOneTieAtMost) {
  const at::Tensor base = at::ones({4});
  HandMade made;
  made.module("").tensor("w", base).tensor("v", base.view({2, 2}));
  made.slots("", {{parameter, "a", "w"}, {parameter, "b", "w"}, {buffer, "c", "v"}});
  EXPECT_EQ(ties_of(made.graph), (Names{{"a", "b", "c"}}));
  EXPECT_EQ(catalog(made.graph).ties[0].kind, TieKind::storage);
}

TEST(CatalogTest, PlainReferencesToWhatIsRegisteredAreNotListed) {
  HandMade made;
  made.module("").module("m").tensor("w", at::ones(2)).tensor("free", at::ones(2));
  made.slots(
      "", {{child, "m", "m"}, {state, "peer", "m"}, {state, "flat", "w"}, {state, "x", "free"}, {state, "y", "free"}});
  made.slots("m", {{parameter, "w", "w"}});
  EXPECT_EQ(ties_of(made.graph), (Names{{"x", "y"}}));
}

TEST(CatalogTest, TensorsOfDifferentPartsAreNotTied) {
  const at::Tensor base = at::ones({4});
  HandMade made = flat({{"a", base}, {"b", base.view({2, 2})}});
  made.graph.tensors[1].part = 1;
  EXPECT_TRUE(catalog(made.graph).ties.empty());
}

TEST(CatalogTest, TiesComeInWalkOrderOfTheirFirstSlots) {
  HandMade made;
  made.module("").module("m").tensor("v", at::ones(2)).tensor("w", at::ones(2));
  made.slots("", {{child, "m", "m"}, {parameter, "z", "w"}});
  made.slots("m", {{parameter, "v1", "v"}, {parameter, "v2", "v"}, {parameter, "w", "w"}});
  EXPECT_EQ(ties_of(made.graph), (Names{{"z", "m.w"}, {"m.v1", "m.v2"}}));
}

// All bytes that a tensor uses, one by one.
std::set<int64_t> bytes_of(const at::Tensor& tensor) {
  std::set<int64_t> result;
  std::vector<int64_t> index(tensor.dim());
  for (int64_t n = 0; n < tensor.numel(); ++n) {
    int64_t rest = n, offset = tensor.storage_offset();
    for (int64_t d = tensor.dim() - 1; d >= 0; --d) {
      offset += rest % tensor.size(d) * tensor.stride(d);
      rest /= tensor.size(d);
    }
    for (int64_t b = 0; b < tensor.element_size(); ++b) result.insert(offset * tensor.element_size() + b);
  }
  return result;
}

at::Tensor random_view(const at::Tensor& base, std::mt19937& random) {
  const auto pick = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  std::vector<int64_t> sizes, strides;
  int64_t last = 0;
  for (int64_t d = pick(0, 3); d > 0; --d) {
    sizes.push_back(pick(0, 8) == 0 ? 0 : pick(1, 4));
    strides.push_back(pick(0, 7));
    last += std::max<int64_t>(sizes.back() - 1, 0) * strides.back();
  }
  return base.as_strided(sizes, strides, pick(0, std::max<int64_t>(base.numel() - 1 - last, 0)));
}

TEST(CatalogTest, GroupsAreThoseOfTheElementSets) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const at::Tensor base = at::zeros({96}), other = base.view(at::kInt);
    std::vector<std::pair<std::string, at::Tensor>> views;
    for (int i = 0; i < 6; ++i) views.emplace_back(std::to_string(i), random_view(i % 2 ? base : other, random));
    std::vector<std::set<int64_t>> bytes;
    for (const auto& [name, view] : views) bytes.push_back(bytes_of(view));
    std::vector<uint32_t> expected{0, 1, 2, 3, 4, 5};
    for (int repeat = 0; repeat < 6; ++repeat) {
      for (std::size_t a = 0; a < 6; ++a) {
        for (std::size_t b = 0; b < 6; ++b) {
          const bool meet =
              std::any_of(bytes[a].begin(), bytes[a].end(), [&](int64_t at) { return bytes[b].count(at) != 0; });
          if (a != b) {
            ASSERT_EQ(overlap(views[a].second, views[b].second), meet) << round << ": " << a << ", " << b;
          }
          if (meet) expected[a] = expected[b] = std::min(expected[a], expected[b]);
        }
      }
    }
    const HandMade made = flat(views);
    const std::vector<uint32_t> found = groups(made.graph);
    for (std::size_t a = 0; a < 6; ++a) {
      for (std::size_t b = 0; b < 6; ++b) ASSERT_EQ(found[a] == found[b], expected[a] == expected[b]) << round;
    }
  }
}

}  // namespace
}  // namespace ramet::core
