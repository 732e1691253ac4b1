/// The memory of clones: what is packed, what is reused, what a survivor pins, and that every byte arrives.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <ramet/materialize.h>
#include <ramet/memory.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "hand_made.h"

namespace ramet::core {
namespace {

constexpr int64_t mib = 1 << 20;

/// Starts with an empty cache of the default kind, and leaves one.
class MemoryTest : public testing::Test {
 protected:
  MemoryTest() : limit_(memory::set_limit(256 * mib)) { memory::empty_cache(); }
  ~MemoryTest() override {
    memory::empty_cache();
    memory::set_limit(limit_);
  }

  static std::vector<at::Tensor> cloned(const std::vector<at::Tensor>& tensors) {
    std::vector<std::pair<std::string, at::Tensor>> named;
    for (const at::Tensor& tensor : tensors) named.emplace_back("t" + std::to_string(named.size()), tensor);
    const HandMade made = flat(named);
    return materialize(made.graph, plan(made.graph, catalog(made.graph), {}), 1)[0];
  }

  int64_t limit_;
};

at::Tensor bytes(int64_t n) { return at::randint(256, {n}, at::kByte); }

TEST_F(MemoryTest, ADroppedClonesMemoryServesTheNext) {
  const at::Tensor big = bytes(32 * mib);
  const void* first = cloned({big})[0].data_ptr();
  EXPECT_GE(memory::stats().cached, 32 * mib);
  const memory::Stats before = memory::stats();
  const at::Tensor again = cloned({big})[0];
  EXPECT_EQ(again.data_ptr(), first);
  EXPECT_EQ(memory::stats().reused, before.reused + 1);
  EXPECT_EQ(memory::stats().mapped, before.mapped);
  EXPECT_EQ(memory::stats().cached, 0);
  EXPECT_TRUE(at::equal(again, big));
}

TEST_F(MemoryTest, AMuchLargerPieceIsNotUsedForASmallOne) {
  cloned({bytes(64 * mib)});
  const int64_t reused = memory::stats().reused;
  const at::Tensor small = cloned({bytes(4 * mib)})[0];
  EXPECT_EQ(memory::stats().reused, reused);
  EXPECT_GE(memory::stats().cached, 64 * mib);
}

TEST_F(MemoryTest, NothingIsCachedBeyondTheLimitAndTheOldestGoesFirst) {
  memory::set_limit(40 * mib);
  {
    std::vector<at::Tensor> old = cloned({bytes(16 * mib)}), recent = cloned({bytes(30 * mib)});
    old.clear();
    EXPECT_GE(memory::stats().cached, 16 * mib);
  }
  EXPECT_LT(memory::stats().cached, 31 * mib);
  EXPECT_GE(memory::stats().cached, 30 * mib);
  memory::set_limit(0);
  EXPECT_EQ(memory::stats().cached, 0);
  cloned({bytes(16 * mib)});
  EXPECT_EQ(memory::stats().cached, 0);
  EXPECT_THROW(memory::set_limit(-1), c10::ValueError);
}

TEST_F(MemoryTest, WhatIsInUseIsCountedUntilItIsFreed) {
  const int64_t before = memory::stats().in_use;
  {
    const auto clones = cloned({bytes(3 * mib), bytes(1000), bytes(500000)});
    EXPECT_GE(memory::stats().in_use, before + 3 * mib + 501000);
    EXPECT_LT(memory::stats().in_use, before + 3 * mib + 501000 + 64 * 1024);
  }
  EXPECT_EQ(memory::stats().in_use, before);
}

TEST_F(MemoryTest, OneSurvivorPinsNoMoreThanItselfOrEightMebibytes) {
  const int64_t before = memory::stats().in_use;
  std::vector<at::Tensor> sources{bytes(20 * mib)};
  for (int i = 0; i < 100; ++i) sources.push_back(bytes(mib / 2));
  auto clones = cloned(sources);
  EXPECT_GE(memory::stats().in_use, before + 70 * mib);
  const at::Tensor small = clones[50];
  clones.clear();
  EXPECT_LE(memory::stats().in_use, before + 8 * mib + 8192);
  EXPECT_TRUE(at::equal(small, sources[50]));
}

TEST_F(MemoryTest, ASurvivorPinsNoMoreWhereItsMemoryIsReused) {
  cloned({bytes(9 * mib)});
  std::vector<at::Tensor> sources;
  for (int i = 0; i < 16; ++i) sources.push_back(bytes(mib / 2 - 64));
  const int64_t before = memory::stats().in_use;
  auto clones = cloned(sources);
  const at::Tensor first = clones[0];
  clones.clear();
  EXPECT_LE(memory::stats().in_use, before + 8 * mib);
}

TEST_F(MemoryTest, AClonesMemoryIsItsBytesAndOneInAHundred) {
  std::vector<at::Tensor> sources{bytes(20 * mib), bytes(3 * mib + 5), bytes(2 * mib), bytes(mib)};
  for (int i = 0; i < 60; ++i) sources.push_back(bytes(900000 - 10000 * i));
  int64_t total = 0;
  for (const at::Tensor& source : sources) total += source.nbytes();
  const int64_t before = memory::stats().in_use;
  const auto clones = cloned(sources);
  EXPECT_LE(memory::stats().in_use - before, total + total / 100);
}

/// The threads of this process.
std::ptrdiff_t threads() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator());
}

TEST_F(MemoryTest, AsManyThreadsCopyAsTorchHas) {
  if (!std::filesystem::exists("/proc/self/task")) GTEST_SKIP() << "needs a system that lists a process's threads";
  const at::Tensor big = bytes(32 * mib);
  // OpenMP's workers belong to the thread that they help, and stay until it ends.
  std::thread([&] {
    at::set_num_threads(3);
    const auto before = threads();
    cloned({bytes(1000)});
    EXPECT_EQ(threads(), before);
    cloned({big});
    EXPECT_EQ(threads(), before + 2);
  }).join();
}

/// Bytes that the system may take back without asking.
std::size_t takeable() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  std::string word;
  while (rollup >> word) {
    if (word == "LazyFree:" && rollup >> word) return std::stoul(word) << 10;
  }
  return 0;
}

TEST_F(MemoryTest, TheSystemMayTakeWhatIsCachedButForTheLatest) {
#ifdef RAMET_PLAIN_MEMORY
  GTEST_SKIP() << "the heap keeps its memory";
#endif
  if (!std::filesystem::exists("/proc/self/smaps_rollup")) GTEST_SKIP() << "needs a system that tells";
  memory::set_limit(512 * mib);
  const at::Tensor big = at::ones({96 * mib}, at::kByte);
  const std::size_t before = takeable();
  std::vector<std::vector<at::Tensor>> clones;
  for (int i = 0; i < 3; ++i) clones.push_back(cloned({big}));
  clones.resize(2);
  EXPECT_LT(takeable(), before + mib);
  clones.clear();
  // Three of them are more than the 256 MiB that it may not take yet: the one that was freed first is its own.
  EXPECT_GT(takeable(), before + 90 * mib);
  EXPECT_TRUE(at::equal(cloned({big})[0], big));
}

TEST_F(MemoryTest, ALimitOfZeroLeavesMemoryToTheHeap) {
  const at::Tensor big = bytes(4 * mib + 3);
  const auto limited = cloned({big});
  memory::set_limit(0);
  const memory::Stats before = memory::stats();
  auto plain = cloned({big});
  EXPECT_TRUE(at::equal(plain[0], big));
  EXPECT_GE(memory::stats().in_use, before.in_use + 4 * mib);
  // What was made under one limit may go under another.
  memory::set_limit(256 * mib);
  plain.clear();
  EXPECT_EQ(memory::stats().in_use, before.in_use);
  EXPECT_EQ(memory::stats().cached, 0);
}

TEST_F(MemoryTest, EveryByteArrivesFreshAndReusedWhateverTheSizes) {
  std::vector<at::Tensor> sources;
  for (const int64_t n : {1, 63, 64, 65, 4095, 4096, 4097, 70001, 1048575, 1048576, 1048577, 5000003, 9000001}) {
    sources.push_back(bytes(n));
  }
  sources.push_back(at::arange(3000000, at::kDouble).as_strided({1000, 1000}, {3, 2999}, 7));
  for (int round = 0; round < 3; ++round) {
    const auto clones = cloned(sources);
    for (std::size_t i = 0; i < sources.size(); ++i) EXPECT_TRUE(at::equal(clones[i], sources[i])) << i;
  }
  EXPECT_GT(memory::stats().reused, 0);
}

TEST_F(MemoryTest, TorchTreatsAClonesStorageAsAnyOther) {
  const at::Tensor source = at::rand({100, 3}), clone = cloned({source, at::rand({5})})[0];
  EXPECT_EQ(clone.storage().nbytes(), source.storage().nbytes());
  at::Tensor grown = clone;
  grown.resize_({200, 3});
  EXPECT_TRUE(at::equal(grown.slice(0, 0, 100), source));
  at::Tensor other = at::empty({0});
  other.set_(clone.storage(), 3, {3}, {1});
  EXPECT_TRUE(at::equal(other, source[1]));
  const at::Tensor lazy = clone._lazy_clone();
  lazy.fill_(1);
  EXPECT_TRUE(at::equal(clone.slice(0, 0, 100), source));
}

TEST_F(MemoryTest, AForkedChildClonesToo) {
  const at::Tensor big = bytes(4 * mib);
  cloned({big});
  std::atomic<bool> done{false};
  std::thread busy([&] {
    while (!done) memory::stats();
  });
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      at::set_num_threads(1);
      alarm(20);
      _exit(at::equal(cloned({big})[0], big) ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  done = true;
  busy.join();
}

TEST_F(MemoryTest, ThreadsCloneAndDropAtOnce) {
  const at::Tensor big = bytes(2 * mib + 5), small = bytes(3000);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        const auto clones = cloned({big, small});
        wrong += !at::equal(clones[0], big) || !at::equal(clones[1], small);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(MemoryTest, MoreMemoryThanThereIsIsAnErrorThatLeavesNothingBehind) {
  const int64_t before = memory::stats().in_use;
  const at::Tensor fits = bytes(3 * mib);
  const at::Tensor huge = at::empty({0}, at::kByte);
  // A storage that claims more than any machine has: only its size is read before the allocation fails.
  const c10::Storage claimed(c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), std::size_t{1} << 50, c10::DataPtr(nullptr, at::kCPU), nullptr, false));
  const at::Tensor impossible = at::empty({0}, at::kByte).set_(claimed, 0, {int64_t{1} << 50}, {1});
  EXPECT_THROW(cloned({fits, impossible}), c10::OutOfMemoryError);
  EXPECT_EQ(memory::stats().in_use, before);
}

}  // namespace
}  // namespace ramet::core
