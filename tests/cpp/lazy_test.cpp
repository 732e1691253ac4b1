/// Lazy storages: who moves, who stays, and that no write reaches the other side.
#include <c10/core/CPUAllocator.h>
#include <gmock/gmock.h>
#include <ramet/memory.h>

#include "failing.h"
#include "lazily.h"

namespace ramet::core {
namespace {

constexpr int64_t mib = 1 << 20;

at::Tensor bytes(int64_t n) { return at::randint(256, {n}, at::kByte); }

TEST(LazyTest, ACloneHasTheSourcesBytesAndATensorOfItsOwn) {
  const at::Tensor source = at::rand({4, 5}).t().requires_grad_();
  const at::Tensor clone = lazily(source);
  EXPECT_EQ(place(clone), place(source));
  EXPECT_FALSE(clone.is_alias_of(source));
  EXPECT_EQ(clone.strides(), source.strides());
  EXPECT_TRUE(clone.requires_grad());
  EXPECT_TRUE(at::equal(clone, source));
  EXPECT_EQ(word(source, clone), "lazy");
}

TEST(LazyTest, TheSideThatWritesMovesAndTheOtherStays) {
  for (const bool source_writes : {true, false}) {
    const at::Tensor source = at::rand({1000}), values = source.clone();
    const at::Tensor clone = lazily(source);
    const void* const before = place(source);
    const at::Tensor &writer = source_writes ? source : clone, &other = source_writes ? clone : source;
    writer.add_(1);
    EXPECT_TRUE(at::equal(other, values));
    EXPECT_TRUE(at::equal(writer, values + 1));
    EXPECT_EQ(place(other), before);
    EXPECT_NE(place(writer), before);
    EXPECT_EQ(word(source, clone), "different");
    other.add_(1);
    EXPECT_EQ(place(other), before);
    EXPECT_TRUE(at::equal(writer, values + 1));
    EXPECT_EQ(word(source, clone), "equal");
  }
}

TEST(LazyTest, TheSourceDoesNotChange) {
  const at::Tensor source = at::rand({8});
  source.add_(1);
  const at::Tensor view = source.slice(0, 2, 4), values = source.clone();
  const int64_t version = source._version();
  const void* const before = place(source);
  const std::vector<at::Tensor> clones = lazily({source, view});
  EXPECT_EQ(source._version(), version);
  EXPECT_EQ(clones[0]._version(), 0);
  EXPECT_EQ(place(source), before);
  EXPECT_TRUE(at::equal(source, values));
  clones[0].zero_();
  EXPECT_EQ(source._version(), version);
  EXPECT_EQ(place(source), before);
  EXPECT_TRUE(view.is_alias_of(source));
}

TEST(LazyTest, ViewsOfOneStorageStayViewsOfOneStorageOnceWritten) {
  const at::Tensor source = at::arange(8.0), values = source.clone();
  const std::vector<at::Tensor> clones = lazily({source, source.slice(0, 2, 6).view({2, 2})});
  EXPECT_TRUE(clones[0].is_alias_of(clones[1]));
  clones[1].fill_(7);
  EXPECT_EQ(clones[0].sum().item<double>(), 28 + 0 + 1 + 6 + 7);
  EXPECT_TRUE(at::equal(source, values));
  source.slice(0, 2, 6).fill_(3);
  EXPECT_EQ(source[3].item<double>(), 3);
  EXPECT_EQ(clones[0][3].item<double>(), 7);
}

TEST(LazyTest, LazyAndOtherSlicesOfOneStorageGoTheirOwnWays) {
  const at::Tensor base = at::arange(8.0), left = base.slice(0, 0, 4), right = base.slice(0, 4, 8);
  const HandMade made = flat({{"left", left}, {"right", right}});
  Rules rules;
  rules.modes.push_back({Mode::lazy, select_path(made.graph, Paths(made.graph), "left", "'left'")});
  const auto clones = materialize(made.graph, plan(made.graph, catalog(made.graph), rules), 1)[0];
  EXPECT_EQ(word(left, clones[0]), "lazy");
  EXPECT_EQ(word(right, clones[1]), "equal");
  base.zero_();
  EXPECT_EQ(clones[0].sum().item<double>(), 6);
  EXPECT_EQ(clones[1].sum().item<double>(), 22);
}

TEST(LazyTest, ClonesOfClonesShareOneMemoryAndLeaveItOneByOne) {
  const at::Tensor source = at::rand({100}), values = source.clone();
  std::vector<at::Tensor> all{source};
  for (int i = 0; i < 5; ++i) all.push_back(lazily(all.back()));
  for (const at::Tensor& each : all) EXPECT_EQ(place(each), place(source));
  EXPECT_EQ(word(all[1], all[4]), "lazy");
  for (const int writer : {3, 0, 5}) {
    all[writer].fill_(writer);
    for (const int other : {1, 2, 4}) EXPECT_TRUE(at::equal(all[other], values)) << writer << other;
  }
  EXPECT_EQ(word(all[1], all[4]), "lazy");
  EXPECT_EQ(word(all[1], all[3]), "different");
}

TEST(LazyTest, SeveralClonesAtOnceAreApart) {
  const HandMade made = numbered({at::zeros({4})});
  const auto clones = materialize(made.graph, lazy_plan(made.graph), 3);
  clones[1][0].fill_(1);
  EXPECT_EQ(clones[0][0].sum().item<float>(), 0);
  EXPECT_EQ(clones[2][0].sum().item<float>(), 0);
  EXPECT_EQ(word(clones[0][0], clones[2][0]), "lazy");
}

// The order in which four tensors over one memory die, some written before.
TEST(LazyTest, TheyMayBeFreedInAnyOrder) {
  std::vector<int> order{0, 1, 2, 3};
  const at::Tensor values = at::rand({300});
  do {
    std::vector<at::Tensor> all{values.clone()};
    all.push_back(lazily(all[0]));
    all.push_back(lazily(all[1]));
    all.push_back(lazily(all[0]));
    all[order[1]].add_(1);
    for (int i = 0; i < 3; ++i) {
      all[order[i]].reset();
      for (int k = i + 1; k < 4; ++k) EXPECT_TRUE(at::equal(all[order[k]], k == 1 ? values + 1 : values));
    }
    const void* const before = place(all[order[3]]);
    all[order[3]].fill_(2);
    EXPECT_EQ(place(all[order[3]]), before);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(LazyTest, TheLastOneKeepsTheBytesWithoutACopy) {
  for (const int64_t n : {int64_t{10}, 5 * mib}) {
    for (const bool of_ours : {false, true}) {
      at::Tensor source = of_ours ? copied({bytes(n)})[0] : bytes(n);
      const at::Tensor values = source.clone(), clone = lazily(source);
      const void* const before = place(source);
      source.reset();
      clone[0] = 1;
      EXPECT_EQ(place(clone), before);
      EXPECT_TRUE(at::equal(clone.slice(0, 1), values.slice(0, 1)));
    }
  }
}

TEST(LazyTest, ASmallSliceThatIsWrittenPinsNoChunk) {
  const int64_t before = memory::stats().in_use;
  std::vector<at::Tensor> sources;
  for (int i = 0; i < 16; ++i) sources.push_back(bytes(mib / 4));
  std::vector<at::Tensor> clones = copied(sources);
  const at::Tensor kept = lazily(clones[5]);
  EXPECT_GE(memory::stats().in_use, before + 4 * mib);
  clones[5].reset();
  kept[0] = 1;
  clones.clear();
  EXPECT_LT(memory::stats().in_use, before + mib / 2);
  EXPECT_TRUE(at::equal(kept.slice(0, 1), sources[5].slice(0, 1)));
}

TEST(LazyTest, NothingIsAllocatedUntilAWriteAndNothingAfterTheClonesDeath) {
  const at::Tensor source = copied({bytes(32 * mib)})[0];
  const memory::Stats before = memory::stats();
  at::Tensor clone = lazily(source);
  EXPECT_EQ(memory::stats().in_use, before.in_use);
  EXPECT_EQ(memory::stats().mapped + memory::stats().reused, before.mapped + before.reused);
  source[0] = 1;
  EXPECT_GE(memory::stats().in_use, before.in_use + 32 * mib);
  clone.reset();
  EXPECT_LT(memory::stats().in_use, before.in_use + mib);
}

TEST(LazyTest, ALargeStorageArrivesWhole) {
  for (const int64_t n : {mib - 1, mib, 9 * mib + 5}) {
    const at::Tensor source = bytes(n), values = source.clone(), clone = lazily(source);
    source[n - 1] = 7;
    EXPECT_TRUE(at::equal(source.slice(0, 0, n - 1), values.slice(0, 0, n - 1)));
    EXPECT_TRUE(at::equal(clone, values));
  }
}

TEST(LazyTest, AWriteThatFindsNoMemoryLeavesAllAsItWas) {
  constexpr auto impossible = std::size_t{1} << 50;
  const auto made = c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), impossible,
                                                          c10::GetCPUAllocator()->allocate(64), nullptr, false);
  std::memset(made->mutable_data(), 5, 64);
  const at::Tensor source = at::empty({0}, at::kByte).set_(c10::Storage(made), 0, {int64_t{1} << 50}, {1});
  at::Tensor clone = lazily(source);
  const int64_t in_use = memory::stats().in_use;
  for (const at::Tensor& writer : {source, clone}) {
    EXPECT_THAT(failing([&] { writer[0] = 1; }), testing::HasSubstr("cannot allocate 11258999068"));
  }
  EXPECT_EQ(memory::stats().in_use, in_use);
  EXPECT_EQ(source[0].item<uint8_t>(), 5);
  EXPECT_EQ(place(clone), place(source));
  clone.reset();
  source[0] = 1;
  EXPECT_EQ(source[0].item<uint8_t>(), 1);
}

TEST(LazyTest, ResizeAndSetLeaveTheOtherSideAlone) {
  for (const bool source_writes : {true, false}) {
    const at::Tensor source = at::arange(6.0), values = source.clone(), clone = lazily(source);
    at::Tensor writer = source_writes ? source : clone;
    const at::Tensor other = source_writes ? clone : source;
    writer.resize_({600});
    EXPECT_TRUE(at::equal(writer.slice(0, 0, 6), values));
    writer.fill_(3);
    EXPECT_TRUE(at::equal(other, values));
    const at::Tensor again = lazily(writer);
    writer.zero_();
    EXPECT_EQ(again[5].item<double>(), 3);
    writer.set_(other.storage(), 1, {2}, {1});
    writer.fill_(9);
    EXPECT_EQ(other[1].item<double>(), 9);
  }
}

TEST(LazyTest, AStorageThatIsResizedToNothingAndBackIsItsOwn) {
  const at::Tensor source = at::arange(6.0), values = source.clone(), clone = lazily(source);
  clone.storage().unsafeGetStorageImpl();
  at::Tensor(clone).resize_({0});
  at::Tensor(clone).resize_({100}).fill_(1);
  EXPECT_TRUE(at::equal(source, values));
}

TEST(LazyTest, TorchsOwnLazyClonesAndOursDoNotMix) {
  const at::Tensor source = at::arange(6.0), values = source.clone();
  const at::Tensor torchs = source._lazy_clone();
  const at::Tensor clone = lazily(source);
  EXPECT_NE(place(clone), place(source));
  torchs.zero_();
  source.zero_();
  EXPECT_TRUE(at::equal(clone, values));
}

}  // namespace
}  // namespace ramet::core
