/// What a plan makes lazy, what it copies instead and why, and what lazy does beside other rules.
#include <gmock/gmock.h>
#include <ramet/report.h>
#include <ramet/untie.h>

#include "hand_made_rules.h"
#include "lazily.h"

namespace ramet::core {
namespace {

/// "mode, why, bytes" of the one tensor of a clone.
std::string row(const at::Tensor& tensor, const std::function<void(Rules&)>& add = {}) {
  const HandMade made = flat({{"a", tensor}});
  Rules rules = all_lazy();
  if (add) add(rules);
  const ramet::Plan planned(made.graph, rules, plan(made.graph, catalog(made.graph), rules));
  return planned[0].mode + ", " + planned[0].why + ", " + std::to_string(planned.nbytes());
}

TEST(LazyPlanTest, ALazyTensorTakesNoMemory) {
  EXPECT_EQ(row(at::ones(4)), "lazy, lazy=True, 0");
  EXPECT_EQ(row(copied({at::ones(4)})[0]), "lazy, lazy=True, 0");
  EXPECT_EQ(row(lazily(at::ones(4))), "lazy, lazy=True, 0");
  EXPECT_EQ(row(at::rand({3}, at::kComplexFloat).conj()), "lazy, lazy=True, 0");
}

TEST(LazyPlanTest, WhatCannotBeLazyIsCopiedAndSaysWhy) {
  std::vector<float> foreign(4, 1);
  const std::string not_ours = "copy, lazy=True, copied: its memory is not ours to share, 16";
  EXPECT_EQ(row(at::from_blob(foreign.data(), {4})), not_ours);
  EXPECT_EQ(row(at::from_blob(foreign.data(), {4}, [](void*) {})), not_ours);
  EXPECT_EQ(row(at::ones(4)._lazy_clone()), not_ours);
  EXPECT_EQ(row(at::ones(4).to_sparse()), "copy, lazy=True, copied: it is no plain view of memory, 16");
  EXPECT_EQ(row(at::empty({4}, at::kMeta)), "copy, lazy=True, copied: it is no plain view of memory, 0");
  EXPECT_EQ(row(at::empty({0})), "copy, lazy=True, copied: it has no bytes, 0");
  EXPECT_EQ(row(at::ones(4), [](Rules& rules) { rules.dtype = at::kDouble; }),
            "copy, lazy=True, copied: it changes device or dtype, 32");
  EXPECT_EQ(row(at::ones(4), [](Rules& rules) { rules.device = at::kMeta; }),
            "copy, lazy=True, copied: it changes device or dtype, 0");
}

TEST(LazyPlanTest, ForeignMemoryIsCopiedRightly) {
  std::vector<float> foreign(4, 1);
  const at::Tensor source = at::from_blob(foreign.data(), {4}), clone = lazily(source);
  EXPECT_EQ(word(source, clone), "equal");
  foreign[0] = 9;
  EXPECT_EQ(clone.sum().item<float>(), 4);
  clone.fill_(3);
  EXPECT_EQ(foreign[0], 9);
}

TEST(LazyPlanTest, ADtypeThatIsTheSamesAlreadyChangesNothing) {
  EXPECT_EQ(row(at::ones(4), [](Rules& rules) { rules.dtype = at::kFloat, rules.device = at::kCPU; }),
            "lazy, lazy=True, 0");
}

TEST(LazyPlanTest, ALargeStorageOfWhichLittleIsInUseIsCompacted) {
  const at::Tensor large = at::arange(1000000), small = at::arange(1000);
  EXPECT_EQ(row(large.slice(0, 5, 9)), "copy, lazy=True, copied: less than half of its storage is in use, 40");
  EXPECT_EQ(row(large.slice(0, 5, 900000)), "lazy, lazy=True, 0");
  EXPECT_EQ(row(small.slice(0, 5, 9)), "lazy, lazy=True, 0");
  const std::vector<at::Tensor> clones =
      lazily({large.slice(0, 5, 9), large.slice(0, 7, 12), large.slice(0, 500, 501)});
  EXPECT_TRUE(clones[0].is_alias_of(clones[1]));
  EXPECT_TRUE(at::equal(clones[1], large.slice(0, 7, 12)));
  large.zero_();
  EXPECT_EQ(clones[2].item<int64_t>(), 500);
}

TEST(LazyPlanTest, FreezeAndGradientsReachLazyTensors) {
  const at::Tensor source = at::ones(4).requires_grad_();
  source.mutable_grad() = at::full({4}, 2.0f);
  EXPECT_EQ(row(source, [](Rules& rules) { rules.grads = true; }), "lazy, lazy=True, 16");
  const HandMade made = flat({{"a", source}});
  Rules rules = all_lazy();
  rules.grads = true;
  rules.freeze.push_back(select_all("True"));
  const at::Tensor clone = materialize(made.graph, plan(made.graph, catalog(made.graph), rules), 1)[0][0];
  EXPECT_FALSE(clone.requires_grad());
  EXPECT_EQ(place(clone), place(source));
  ASSERT_TRUE(clone.grad().defined());
  clone.grad().zero_();
  EXPECT_EQ(source.grad().sum().item<float>(), 8);
  EXPECT_FALSE(lazily(source).grad().defined());
}

TEST(LazyPlanTest, AnUntiedTensorIsLazyByItself) {
  HandMade made;
  const at::Tensor source = at::arange(4.0);
  made.module("").tensor("t", source).slots("", {{parameter, "a", "t"}, {parameter, "b", "t"}});
  untie(made.graph, {select_tied(made.graph, Paths(made.graph), "b", "'b'")});
  const Plan planned = lazy_plan(made.graph);
  EXPECT_EQ(planned.tensors[1].mode, Mode::lazy);
  const auto clones = materialize(made.graph, planned, 1)[0];
  EXPECT_FALSE(clones[0].is_alias_of(clones[1]));
  EXPECT_EQ(place(clones[0]), place(clones[1]));
  EXPECT_EQ(word(clones[0], clones[1]), "lazy");
  clones[0].zero_();
  EXPECT_EQ(clones[1].sum().item<double>(), 6);
  EXPECT_EQ(source.sum().item<double>(), 6);
}

TEST(LazyPlanTest, AnOptimizersStateIsLazyWhereItsParameterIs) {
  HandMade made = flat({{"a", at::ones(4)}, {"b", at::ones(4)}, {"of_a", at::ones(4)}, {"of_b", at::ones(4)}});
  for (const core::TensorId state : {2, 3}) {
    made.graph.tensors[state].follows = state - 2;
    made.graph.slots[state].kind = SlotKind::back;
  }
  const Rules rules = rules_for(made.graph, {{Mode::lazy, "a"}});
  const Plan planned = plan(made.graph, catalog(made.graph), rules);
  EXPECT_EQ(planned.tensors[2].mode, Mode::lazy);
  EXPECT_EQ(planned.tensors[3].mode, Mode::copy);
  // A view of state that follows another parameter keeps both from being lazy, and together.
  made.graph.tensors[3].value = made.graph.tensors[2].value.view({2, 2});
  const Plan tied = plan(made.graph, catalog(made.graph), rules);
  EXPECT_EQ(tied.tensors[2].mode, Mode::copy);
  EXPECT_EQ(tied.tensors[2].block, tied.tensors[3].block);
}

TEST(LazyPlanTest, ARelationSaysLazyOfTheSameViewOnly) {
  const at::Tensor source = at::arange(12.0).view({3, 4}), clone = lazily(source);
  EXPECT_EQ(word(source, clone), "lazy");
  EXPECT_EQ(word(source, clone.as_strided({3, 4}, {1, 3})), "different");
  EXPECT_EQ(word(source, clone.view({4, 3})), "different");
  EXPECT_EQ(word(source.slice(0, 0, 1), clone.slice(0, 0, 1)), "lazy");
  EXPECT_EQ(word(source.slice(0, 0, 1), clone.slice(0, 1, 2)), "different");
  EXPECT_EQ(word(source, source.view({3, 4})), "aliased");
}

TEST(LazyPlanTest, NothingIsTiedAcrossALazyCloneAndNothingInCommon) {
  const at::Tensor source = at::ones(4);
  const HandMade a = flat({{"a", source}}), b = flat({{"a", lazily(source)}});
  EXPECT_THAT(in_common(a.graph, b.graph), testing::IsEmpty());
  const HandMade both = flat({{"a", source}, {"b", lazily(source)}});
  EXPECT_THAT(catalog(both.graph).ties, testing::IsEmpty());
  const auto copies = materialize(both.graph, plan(both.graph, catalog(both.graph), {}), 1)[0];
  copies[0].zero_();
  EXPECT_EQ(copies[1].sum().item<float>(), 4);
}

}  // namespace
}  // namespace ramet::core
