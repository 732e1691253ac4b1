/// Relations of hand-made graphs: words by path, structures that differ, ties, what two graphs have in common.
#include <ATen/ATen.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/errors.h>
#include <ramet/relation.h>

#include <limits>
#include <sstream>

#include "hand_made.h"
#include "hand_made_rules.h"

namespace ramet {
namespace {

using core::buffer;
using core::child;
using core::flat;
using core::HandMade;
using core::message;
using core::none;
using core::parameter;
using core::state;
using core::TieKind;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> rows(const Relation& relation) {
  std::vector<std::string> result;
  for (const RelationRow& row : relation) result.push_back(row.path + " " + row.word);
  return result;
}

std::string word(const at::Tensor& a, const at::Tensor& b) {
  return Relation(flat({{"t", a}}).graph, flat({{"t", b}}).graph)["t"];
}

TEST(RelationTest, EachPathHasAWord) {
  const at::Tensor one = at::ones(4), base = at::ones(4);
  const HandMade a = flat({{"shared", one}, {"aliased", base}, {"equal", at::ones(2)}, {"different", at::ones(2)}});
  const HandMade b = flat({{"different", at::zeros(2)}, {"equal", at::ones(2)}, {"aliased", base[3]}, {"shared", one}});
  const Relation relation(a.graph, b.graph);
  EXPECT_THAT(rows(relation), ElementsAre("shared shared", "aliased aliased", "equal equal", "different different"));
  EXPECT_THAT(relation.shared(), ElementsAre("shared"));
  EXPECT_THAT(relation.aliased(), ElementsAre("aliased"));
  EXPECT_THAT(relation.equal(), ElementsAre("equal"));
  EXPECT_THAT(relation.different(), ElementsAre("different"));
  EXPECT_THAT(relation.lazy(), IsEmpty());
  EXPECT_THAT(relation.only_a(), IsEmpty());
  EXPECT_THAT(relation.only_b(), IsEmpty());
  EXPECT_EQ(relation["aliased"], "aliased");
}

TEST(RelationTest, AliasedIsOverlapOfElementsAndNotOfStorages) {
  const at::Tensor base = at::zeros({4, 6});
  const auto columns = [&](int64_t first) { return base.slice(1, first, 6, 2); };
  EXPECT_EQ(word(base, base.t()), "aliased");
  EXPECT_EQ(word(base, base.detach()), "aliased");
  EXPECT_EQ(word(columns(0), columns(1)), "equal");
  EXPECT_EQ(word(base.slice(0, 0, 2), base.slice(0, 2, 4)), "equal");
  EXPECT_EQ(word(base.slice(0, 0, 3), base.slice(0, 2, 4)), "aliased");
}

TEST(RelationTest, EqualMeansShapeDtypeAndValues) {
  const at::Tensor ramp = at::arange(6, at::kFloat);
  EXPECT_EQ(word(ramp, ramp.clone()), "equal");
  EXPECT_EQ(word(ramp.view({2, 3}), ramp.view({3, 2}).clone()), "different");
  EXPECT_EQ(word(ramp, ramp.to(at::kDouble)), "different");
  EXPECT_EQ(word(ramp, ramp + 1), "different");
  EXPECT_EQ(word(ramp.view({2, 3}), ramp.view({2, 3}).t().contiguous().t()), "equal");
  EXPECT_EQ(word(at::zeros({0, 3}), at::ones({0, 3})), "equal");
  EXPECT_EQ(word(at::zeros({0, 3}), at::zeros({3, 0})), "different");
  EXPECT_EQ(word(at::ones({}), at::ones({})), "equal");
}

TEST(RelationTest, WhatItsStorageDoesNotHoldIsNotRead) {
  const auto freed = [] {
    at::Tensor tensor = at::ones(1000);
    tensor.storage().unsafeGetStorageImpl()->set_nbytes(0);
    return tensor;
  };
  EXPECT_EQ(word(freed(), at::ones(1000)), "different");
  EXPECT_EQ(word(at::ones(1000), freed()), "different");
  EXPECT_EQ(word(freed(), freed()), "equal");
}

TEST(RelationTest, ANanEqualsANanOfTheSameBitsAndZeroMinusZero) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor a = at::tensor({nan, 0.0f, 1.0f});
  EXPECT_EQ(word(a, a.clone()), "equal");
  EXPECT_EQ(word(at::tensor(0.0f), at::tensor(-0.0f)), "equal");
  EXPECT_EQ(word(a, at::tensor({nan, -0.0f, 1.0f})), "equal");
  EXPECT_EQ(word(a, at::tensor({nan, -0.0f, 2.0f})), "different");
  EXPECT_EQ(word(a, at::tensor({1.0f, 0.0f, nan})), "different");
  at::Tensor payload = a.clone();
  payload.view(at::kInt)[0].bitwise_xor_(1);
  EXPECT_TRUE(payload[0].isnan().item<bool>());
  EXPECT_EQ(word(a, payload), "different");
  const at::Tensor big = at::cat({a, at::ones(100'000)}).repeat({3, 1}), other = big.clone();
  other.index({2, 1}).neg_();
  EXPECT_EQ(word(big, other), "equal");
  other[2][100'002] = 2;
  EXPECT_EQ(word(big, other), "different");
}

TEST(RelationTest, AllDtypesAreCompared) {
  for (const at::ScalarType type : {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf,
                                    at::kBFloat16, at::kDouble, at::kComplexHalf, at::kComplexFloat, at::kComplexDouble,
                                    at::kUInt16, at::kUInt64, at::kFloat8_e4m3fn, at::kFloat4_e2m1fn_x2, at::kBits8}) {
    const auto of = [&](int64_t value) { return at::full(8, value, at::kLong).view(at::kByte).view(type); };
    EXPECT_EQ(word(of(1), of(1)), "equal") << type;
    EXPECT_EQ(word(of(1), of(0)), "different") << type;
  }
  const at::Tensor lazy = at::complex(at::ones(3), at::ones(3)).conj();
  EXPECT_EQ(word(lazy, lazy.clone()), "equal");
  EXPECT_EQ(word(lazy, lazy.conj().clone()), "different");
}

// Counts what torch's CPU allocator hands out to this thread.
struct Allocations : c10::MemoryReportingInfoBase {
  void reportMemoryUsage(void*, int64_t bytes, std::size_t, std::size_t, c10::Device) override {
    if (bytes > 0) total += bytes;
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t total = 0;
};

TEST(RelationTest, ComparesValuesInPlace) {
  const at::Tensor a = at::rand(1'000'000), b = a.clone(), c = a.clone(), nan = a.clone();
  nan[0] = std::numeric_limits<float>::quiet_NaN();
  at::Tensor minus = nan.clone();
  c[999'999] = 2, nan[999'999] = 0.0f, minus[999'999] = -0.0f;
  const auto counter = std::make_shared<Allocations>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, counter);
  EXPECT_EQ(word(a, b), "equal");
  EXPECT_EQ(word(a, c), "different");
  EXPECT_EQ(word(a.view({1000, 1000}).t(), b.view({1000, 1000}).t()), "equal");
  EXPECT_EQ(word(nan, minus), "equal");
  EXPECT_LT(counter->total, static_cast<int64_t>(a.nbytes() / 10));
}

TEST(RelationTest, MetaTensorsAreEqualByShapeAndDtype) {
  const at::Tensor meta = at::empty({2, 3}, at::kMeta);
  EXPECT_EQ(word(meta, at::empty({2, 3}, at::kMeta)), "equal");
  EXPECT_EQ(word(meta, meta[0].expand({2, 3})), "equal");
  EXPECT_EQ(word(meta, at::empty({2, 2}, at::kMeta)), "different");
  EXPECT_EQ(word(meta, at::ones({2, 3})), "different");
}

TEST(RelationTest, OddTensorsAreComparedWhereThatCanBeDone) {
  const at::Tensor dense = at::eye(3), sparse = dense.to_sparse(), csr = dense.to_sparse_csr();
  EXPECT_EQ(word(sparse, sparse.clone()), "equal");
  EXPECT_EQ(word(sparse, sparse * 2), "different");
  EXPECT_EQ(word(sparse, sparse.detach()), "aliased");
  EXPECT_EQ(word(sparse._values(), sparse), "aliased");
  EXPECT_EQ(word(csr, csr.clone()), "equal");
  EXPECT_EQ(word(csr, csr.detach()), "aliased");
  EXPECT_EQ(word(dense.to_sparse_csc(), dense.to_sparse_csc()), "equal");
  EXPECT_EQ(word(sparse, csr), "different");
  EXPECT_EQ(word(sparse, dense), "different");
  const at::Tensor quantized = at::quantize_per_tensor(at::rand(4), 0.1, 0, at::kQInt8);
  EXPECT_EQ(word(quantized, quantized.clone()), "equal");
  EXPECT_EQ(word(quantized, quantized.detach()), "aliased");
  const at::Tensor mkldnn = dense.to_mkldnn();
  EXPECT_EQ(word(mkldnn, mkldnn), "shared");
  EXPECT_EQ(word(mkldnn, mkldnn.clone()), "different");
}

TEST(RelationTest, NoneOnOneSideIsDifferentAndOnBothIsNotListed) {
  HandMade a, b;
  a.module("").module("m").tensor("t", at::ones(1));
  a.slots("", {{parameter, "x", "t"}, {parameter, "y", ""}, {parameter, "z", ""}, {state, "m", "m"}});
  b.module("").tensor("t", at::ones(1)).tensor("m", at::ones(1));
  b.slots("", {{parameter, "x", ""}, {parameter, "y", "t"}, {parameter, "z", ""}, {state, "m", "m"}});
  const Relation relation(a.graph, b.graph);
  EXPECT_THAT(rows(relation), ElementsAre("x different", "y different", "m different"));
  EXPECT_EQ(message<PlanError>([&] { relation["z"]; }), "relation: 'z' holds no tensor; name a tensor slot");
}

// x.w and y.w; if tied, y is x and its own block is not held.
HandMade tied_blocks(const at::Tensor& first, const at::Tensor& second, bool tied) {
  HandMade made;
  made.module("").module("x").module("y").tensor("first", first).tensor("second", second);
  made.slots("", {{child, "x", "x"}, {child, "y", tied ? "x" : "y"}});
  made.slots("x", {{parameter, "w", "first"}}).slots("y", {{parameter, "w", "second"}});
  return made;
}

TEST(RelationTest, ASlotIsListedOnceAndFoundByAllItsPaths) {
  const at::Tensor w = at::ones(2);
  const Relation relation(tied_blocks(w, w, true).graph, tied_blocks(w, w, true).graph);
  EXPECT_THAT(rows(relation), ElementsAre("x.w shared"));
  EXPECT_EQ(relation["y.w"], "shared");
}

TEST(RelationTest, WhereOneSideTiesWhatTheOtherDoesNotEveryPairIsListed) {
  const at::Tensor w = at::ones(2), v = at::zeros(2);
  const HandMade tied = tied_blocks(w, v, true), apart = tied_blocks(w, v, false);
  EXPECT_THAT(rows(Relation(tied.graph, apart.graph)), ElementsAre("x.w shared", "y.w different"));
  EXPECT_THAT(rows(Relation(apart.graph, tied.graph)), ElementsAre("x.w shared", "y.w different"));
  // Names cross: z is x here and y there.
  const auto crossing = [&](const std::string& z) {
    HandMade root;
    root.module("").module("x").module("y").tensor("first", w).tensor("second", v);
    root.slots("", {{child, "x", "x"}, {child, "y", "y"}, {child, "z", z}});
    root.slots("x", {{parameter, "w", "first"}}).slots("y", {{parameter, "w", "second"}});
    return root;
  };
  const Relation relation(crossing("x").graph, crossing("y").graph);
  EXPECT_THAT(rows(relation), ElementsAre("x.w shared", "y.w shared", "z.w different"));
}

TEST(RelationTest, RowsAreInWalkOrderOfA) {
  const HandMade a = core::model();
  HandMade b;
  b.module("").module("decoder").module("encoder");
  for (const char* name : {"v", "dw", "ew"}) b.tensor(name, at::ones(4));
  b.slots("", {{parameter, "v", "v"}, {child, "decoder", "decoder"}, {child, "encoder", "encoder"}});
  b.slots("decoder", {{parameter, "w", "dw"}}).slots("encoder", {{parameter, "w", "ew"}});
  EXPECT_THAT(rows(Relation(a.graph, b.graph)),
              ElementsAre("stat only_a", "v only_b", "encoder.w equal", "encoder.inner.w only_a",
                          "encoder.inner.b only_a", "decoder.w equal", "list.0 only_a"));
}

TEST(RelationTest, AWrongPathIsAnErrorThatSaysWhy) {
  const Relation relation(flat({{"x", at::ones(1)}, {"weight", at::ones(1)}}).graph,
                          flat({{"y", at::ones(1)}, {"weight", at::ones(1)}}).graph);
  EXPECT_EQ(message<PlanError>([&] { relation["x"]; }),
            "relation: only a has 'x', so there is nothing to compare; such paths are in .only_a");
  EXPECT_THAT(message<PlanError>([&] { relation["y"]; }), HasSubstr("only b has 'y'"));
  EXPECT_THAT(message<PlanError>([&] { relation["wieght"]; }),
              HasSubstr("relation: neither side has 'wieght'; the nearest names are 'weight', "));
  EXPECT_EQ(message<PlanError>([&] { relation[""]; }), "relation: '' holds no tensor; name a tensor slot");
}

TEST(RelationTest, TiesThatOnlyOneSideHasAreListed) {
  const at::Tensor base = at::ones(4);
  const HandMade a = flat({{"p", base}, {"q", base[0]}, {"r", at::ones(1)}, {"s", at::ones(1)}});
  HandMade b = flat({{"p", at::ones(4)}, {"q", at::ones({})}, {"r", base[1]}, {"s", base}});
  const Relation relation(a.graph, b.graph);
  ASSERT_EQ(relation.ties_a().size(), 1u);
  EXPECT_THAT(relation.ties_a()[0].names, ElementsAre("p", "q"));
  EXPECT_EQ(relation.ties_a()[0].kind, "storage");
  ASSERT_EQ(relation.ties_b().size(), 1u);
  EXPECT_THAT(relation.ties_b()[0].names, ElementsAre("r", "s"));
  EXPECT_THAT(Relation(a.graph, a.graph).ties_a(), IsEmpty());
}

TEST(RelationTest, HoldsNothingOfTheModels) {
  const at::Tensor weight = at::ones(2);
  const Relation relation = [&] {
    const HandMade made = flat({{"a", weight}});
    return Relation(made.graph, made.graph);
  }();
  EXPECT_EQ(weight.use_count(), 1u);
  EXPECT_EQ(relation["a"], "shared");
}

TEST(RelationTest, PrintsATableAndTheCounts) {
  const at::Tensor w = at::ones(2);
  const auto printed = [](const Relation& relation) {
    std::ostringstream out;
    out << relation;
    return out.str();
  };
  const HandMade a = flat({{"weight", w[0]}, {"w", w}, {"b", w[1]}}), b = flat({{"w", w}, {"x", w[0]}});
  EXPECT_EQ(printed(Relation(a.graph, b.graph)),
            "path    relation\n"
            "weight  only_a\n"
            "w       shared\n"
            "b       only_a\n"
            "x       only_b\n"
            "only a ties weight, w, b\n"
            "only b ties w, x\n"
            "4 paths: 1 shared, 2 only_a, 1 only_b\n");
  EXPECT_EQ(printed(Relation(flat({}).graph, flat({}).graph)), "0 paths\n");
}

TEST(InCommonTest, TensorsAreFoundUnderAnyPaths) {
  const at::Tensor one = at::ones(4), base = at::ones({2, 2}), meta = at::empty(1, at::kMeta);
  const HandMade a = flat({{"x", one}, {"own", at::ones(1)}, {"top", base[0]}, {"meta", meta}});
  HandMade b;
  b.module("").object("list").tensor("one", one).tensor("base", base).tensor("bottom", base[1]).tensor("meta", meta);
  b.slots("", {{buffer, "bottom", "bottom"}, {state, "list", "list"}, {parameter, "meta", "meta"}});
  b.slots("list", {{state, "0", "one"}, {state, "1", "base"}});
  std::vector<std::tuple<TieKind, core::NodeId, core::NodeId>> found;
  for (const auto& [kind, x, y] : core::in_common(a.graph, b.graph)) found.emplace_back(kind, x, y);
  EXPECT_THAT(found, ElementsAre(std::tuple(TieKind::tensor, a["x"], b["one"]),
                                 std::tuple(TieKind::tensor, a["meta"], b["meta"]),
                                 std::tuple(TieKind::storage, a["top"], b["base"])));
}

TEST(InCommonTest, ModulesAreFoundByIdentity) {
  HandMade a = flat({}), b = flat({});
  const int module = 0;
  EXPECT_THAT(core::in_common(a.graph, b.graph), IsEmpty());
  a.graph.nodes[0].object = b.graph.nodes[0].object = &module;
  ASSERT_EQ(core::in_common(a.graph, b.graph).size(), 1u);
  EXPECT_EQ(core::in_common(a.graph, b.graph)[0].kind, TieKind::module);
}

TEST(InCommonTest, OddTensorsMeetInTheirParts) {
  const at::Tensor sparse = at::eye(3).to_sparse(),
                   quantized = at::quantize_per_tensor(at::rand(4), 0.1, 0, at::kQInt8);
  const auto count = [](const at::Tensor& a, const at::Tensor& b) {
    return core::in_common(flat({{"x", a}}).graph, flat({{"y", b}}).graph).size();
  };
  EXPECT_EQ(count(sparse, sparse._values()), 1u);
  EXPECT_EQ(count(sparse, sparse.detach()), 1u);
  EXPECT_EQ(count(sparse, sparse.clone()), 0u);
  EXPECT_EQ(count(quantized, quantized.detach()), 1u);
  EXPECT_EQ(count(quantized, quantized.clone()), 0u);
}

}  // namespace
}  // namespace ramet
