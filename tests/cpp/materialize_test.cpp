/// The tensors of a clone: values, storage relations, and both again after a write to one side.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <ramet/materialize.h>

#include "hand_made.h"

namespace ramet::core {
namespace {

std::vector<at::Tensor> cloned(const HandMade& made, const Rules& rules = {}) {
  return materialize(made.graph, plan(made.graph, catalog(made.graph), rules), 1)[0];
}

TEST(MaterializeTest, ACopyHasItsOwnMemoryAndEverythingElseOfItsSource) {
  const std::vector<at::Tensor> sources{at::rand({3, 4}),
                                        at::rand({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast),
                                        at::rand({4, 5}).t(),
                                        at::rand({4, 1}).expand({4, 3}),
                                        at::ones({}, at::kLong),
                                        at::empty({0, 3}),
                                        at::rand({3}, at::kHalf),
                                        at::rand({3}, at::kComplexFloat),
                                        at::rand({3}, at::kComplexFloat).conj(),
                                        at::ones({3}, at::kBool),
                                        at::rand({4}).to_sparse(),
                                        at::quantize_per_tensor(at::rand({4}), 0.1, 3, at::kQUInt8),
                                        at::rand({3, 4}).requires_grad_()};
  for (const at::Tensor& source : sources) {
    const at::Tensor clone = cloned(flat({{"a", source}}))[0];
    EXPECT_EQ(clone.options().dtype(), source.options().dtype());
    EXPECT_EQ(clone.layout(), source.layout());
    EXPECT_EQ(clone.sizes(), source.sizes());
    EXPECT_EQ(clone.requires_grad(), source.requires_grad());
    EXPECT_TRUE(clone.is_leaf());
    EXPECT_EQ(clone.is_conj(), source.is_conj());
    if (source.layout() == at::kStrided) {
      EXPECT_EQ(clone.strides(), source.strides());
      EXPECT_TRUE(source.numel() == 0 || clone.data_ptr() != source.data_ptr());
      EXPECT_TRUE(at::equal(clone.resolve_conj(), source.resolve_conj()));
    }
  }
}

TEST(MaterializeTest, AWriteToOneSideStaysThere) {
  const at::Tensor source = at::zeros({4});
  const at::Tensor clone = cloned(flat({{"a", source}}))[0];
  clone.fill_(1);
  EXPECT_EQ(source.sum().item<float>(), 0);
  source.fill_(2);
  EXPECT_EQ(clone.sum().item<float>(), 4);
}

TEST(MaterializeTest, ViewsOfOneStorageStayViewsOfOneStorage) {
  const at::Tensor base = at::arange(8.0);
  const auto clones = cloned(flat({{"a", base}, {"b", base.slice(0, 2, 6).view({2, 2})}}));
  EXPECT_TRUE(clones[0].is_alias_of(clones[1]));
  EXPECT_FALSE(clones[0].is_alias_of(base));
  clones[0].fill_(7);
  EXPECT_EQ(clones[1].sum().item<double>(), 28);
  EXPECT_EQ(base.sum().item<double>(), 28);
  EXPECT_EQ(base[7].item<double>(), 7);
}

TEST(MaterializeTest, ACompactedStorageHoldsTheValuesThatWereUsed) {
  const at::Tensor big = at::arange(100000);
  const auto clones =
      cloned(flat({{"a", big.slice(0, 11, 15)}, {"b", big.slice(0, 50001, 50005, 2)}, {"c", big.slice(0, 13, 20)}}));
  EXPECT_TRUE(at::equal(clones[0], big.slice(0, 11, 15)));
  EXPECT_TRUE(at::equal(clones[1], big.slice(0, 50001, 50005, 2)));
  EXPECT_TRUE(at::equal(clones[2], big.slice(0, 13, 20)));
  EXPECT_LT(clones[0].storage().nbytes(), 400u);
  clones[0][2] = -1;
  EXPECT_EQ(clones[2][0].item<int64_t>(), -1);
}

TEST(MaterializeTest, ASharedTensorIsTheSourcesOwn) {
  const HandMade made = flat({{"a", at::ones({2}).requires_grad_()}});
  Rules rules;
  rules.modes.push_back({Mode::share, select_all("True")});
  EXPECT_TRUE(cloned(made, rules)[0].is_same(made.graph.tensors[0].value));
}

TEST(MaterializeTest, SeveralClonesAreDistinct) {
  const HandMade made = flat({{"a", at::ones({2})}});
  const auto clones = materialize(made.graph, plan(made.graph, catalog(made.graph), {}), 3);
  ASSERT_EQ(clones.size(), 3u);
  clones[0][0].fill_(5);
  EXPECT_EQ(clones[1][0].sum().item<float>(), 2);
  EXPECT_FALSE(clones[1][0].is_alias_of(clones[2][0]));
  EXPECT_TRUE(materialize(made.graph, plan(made.graph, catalog(made.graph), {}), 0).empty());
}

TEST(MaterializeTest, AnInferenceTensorsCloneIsANormalTensor) {
  const at::Tensor source = [] {
    const c10::InferenceMode inference;
    return at::ones({3});
  }();
  at::Tensor clone = cloned(flat({{"a", source}}))[0];
  EXPECT_TRUE(source.is_inference());
  EXPECT_FALSE(clone.is_inference());
  clone.set_requires_grad(true);
  (clone * 2).sum().backward();
  EXPECT_EQ(clone.grad().sum().item<float>(), 6);
}

TEST(MaterializeTest, AZeroTensorsCloneCanBeWritten) {
  at::Tensor clone = cloned(flat({{"a", at::_efficientzerotensor({4}, at::kFloat)}}))[0];
  EXPECT_EQ(clone.sum().item<float>(), 0);
  clone.fill_(2);
  EXPECT_EQ(clone.sum().item<float>(), 8);
}

TEST(MaterializeTest, EveryStorageIsAlignedAsTorchsOwn) {
  for (const int64_t bytes : {1, 7, 64, 4096, 4097, 100000}) {
    const at::Tensor source = at::randint(0, 256, {bytes}, at::kByte);
    const at::Tensor clone = cloned(flat({{"a", source}}))[0];
    EXPECT_EQ(reinterpret_cast<uintptr_t>(clone.data_ptr()) % 64, 0u) << bytes;
    EXPECT_EQ(clone.storage().nbytes(), static_cast<std::size_t>(bytes));
    EXPECT_TRUE(at::equal(clone, source)) << bytes;
  }
}

TEST(MaterializeTest, ATensorThatItsFrontClonesIsLeftUndefinedUnlessShared) {
  HandMade made = flat({{"a", at::ones({2})}});
  made.graph.tensors[0].opaque = true;
  EXPECT_FALSE(cloned(made)[0].defined());
  Rules rules;
  rules.modes.push_back({Mode::share, select_all("True")});
  EXPECT_TRUE(cloned(made, rules)[0].is_same(made.graph.tensors[0].value));
}

TEST(MaterializeTest, ACloneStartsWithAVersionOfItsOwn) {
  const at::Tensor source = at::ones({2});
  source.add_(1);
  const int64_t version = source._version();
  const at::Tensor clone = cloned(flat({{"a", source}}))[0];
  EXPECT_EQ(clone._version(), 0);
  clone.add_(1);
  EXPECT_EQ(clone._version(), 1);
  EXPECT_EQ(source._version(), version);
}

TEST(MaterializeTest, ANonLeafIsCopiedDetachedAndTrainsWhereItIsAParameter) {
  const at::Tensor leaf = at::ones({2}).requires_grad_();
  HandMade made = flat({{"a", leaf * 2}});
  const at::Tensor parameter_clone = cloned(made)[0];
  made.graph.slots[0].kind = SlotKind::state;
  const at::Tensor state_clone = cloned(made)[0];
  EXPECT_TRUE(parameter_clone.requires_grad());
  EXPECT_FALSE(state_clone.requires_grad());
  for (const at::Tensor& clone : {parameter_clone, state_clone}) {
    EXPECT_TRUE(clone.is_leaf());
    EXPECT_EQ(clone.sum().item<float>(), 4);
  }
}

TEST(MaterializeTest, MetaTensorsStayMeta) {
  const at::Tensor clone = cloned(flat({{"a", at::empty({3, 2}, at::kMeta).t()}}))[0];
  EXPECT_TRUE(clone.is_meta());
  EXPECT_EQ(clone.strides(), (at::IntArrayRef{1, 2}));
}

TEST(MaterializeTest, ACloneCanBeResizedAndSaved) {
  at::Tensor clone = cloned(flat({{"a", at::ones({2})}}))[0];
  clone.resize_({100});
  clone.fill_(1);
  EXPECT_EQ(clone.sum().item<float>(), 100);
}

}  // namespace
}  // namespace ramet::core
