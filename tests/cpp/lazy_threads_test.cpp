/// Threads and processes that clone, read, write and drop storages over one memory at once.
#include <ATen/Parallel.h>
#include <ramet/memory.h>
#include <sys/wait.h>
#include <unistd.h>

#include "in_threads.h"
#include "lazily.h"

namespace ramet::core {
namespace {

constexpr int threads = 8, rounds = 40;

TEST(LazyThreadsTest, ManyCloneOneSourceReadItAndWriteTheirs) {
  const at::Tensor source = at::arange(1000);
  in_threads(threads, [&](int thread) {
    for (int i = 0; i < rounds; ++i) {
      const at::Tensor clone = lazily(source), again = lazily(clone);
      EXPECT_EQ(source.sum().item<int64_t>(), 499500);
      clone.fill_(thread);
      EXPECT_EQ(clone.sum().item<int64_t>(), 1000 * thread);
      EXPECT_EQ(again.sum().item<int64_t>(), 499500);
      EXPECT_EQ(word(source, again), "lazy");
    }
  });
  EXPECT_EQ(source.sum().item<int64_t>(), 499500);
}

TEST(LazyThreadsTest, HoldersOfOneMemoryLeaveItAtOnce) {
  for (int i = 0; i < rounds; ++i) {
    std::vector<at::Tensor> all{at::arange(10000)};
    for (int k = 1; k < threads; ++k) all.push_back(lazily(all[k / 2]));
    in_threads(threads, [&](int thread) {
      at::Tensor& mine = all[thread];
      if (thread == i % threads) return mine.reset();
      mine.add_(thread);
      EXPECT_EQ(mine.sum().item<int64_t>(), 49995000 + 10000 * thread);
      if (thread % 2 == 0) mine.reset();
    });
    for (int k = 1; k < threads; k += 2) {
      if (k != i % threads) EXPECT_EQ(all[k][0].item<int64_t>(), k);
    }
  }
}

TEST(LazyThreadsTest, OneReadsWhileTheOtherSideWrites) {
  for (int i = 0; i < rounds; ++i) {
    const at::Tensor source = at::arange(5000);
    std::vector<at::Tensor> clones;
    for (int k = 0; k < 4; ++k) clones.push_back(lazily(source));
    in_threads(5, [&](int thread) {
      if (thread == 4) {
        for (int k = 0; k < 10; ++k) EXPECT_EQ(source.sum().item<int64_t>(), 12497500);
      } else {
        clones[thread].zero_();
        clones[thread].reset();
      }
    });
  }
}

// The workers of one loop are the first to write, together.
TEST(LazyThreadsTest, AParallelLoopWritesAllOfItsTensorAndNothingElse) {
  for (const bool source_writes : {true, false}) {
    const at::Tensor source = at::arange(4096), clone = lazily(source);
    const at::Tensor &writer = source_writes ? source : clone, &other = source_writes ? clone : source;
    at::parallel_for(0, 4096, 64, [&](int64_t begin, int64_t end) { writer.slice(0, begin, end).fill_(-1); });
    EXPECT_EQ(writer.sum().item<int64_t>(), -4096);
    EXPECT_EQ(other.sum().item<int64_t>(), 4096 * 4095 / 2);
  }
}

TEST(LazyThreadsTest, ALargeStorageIsCopiedByAllThreadsFromWithinALoopToo) {
  const at::Tensor source = at::randint(256, {9 << 20}, at::kByte), values = source.clone();
  std::vector<at::Tensor> clones;
  for (int i = 0; i < 4; ++i) clones.push_back(lazily(source));
  at::parallel_for(0, 4, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) clones[i][0] = 1;
  });
  for (const at::Tensor& clone : clones) EXPECT_TRUE(at::equal(clone.slice(0, 1), values.slice(0, 1)));
  EXPECT_TRUE(at::equal(source, values));
}

TEST(LazyThreadsTest, AForkedChildHoldsNoLockOfAnotherThread) {
  const at::Tensor source = at::arange(1000), clone = lazily(source);
  std::atomic<bool> done{false};
  std::thread busy([&] {
    while (!done) lazily(source).zero_();
  });
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      at::set_num_threads(1);
      alarm(20);
      const at::Tensor again = lazily(clone);
      clone.zero_();
      source.fill_(1);
      const bool right = again.sum().item<int64_t>() == 499500 && clone.sum().item<int64_t>() == 0;
      _exit(right && source.sum().item<int64_t>() == 1000 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  done = true;
  busy.join();
  EXPECT_EQ(source.sum().item<int64_t>(), 499500);
  EXPECT_EQ(word(source, clone), "lazy");
}

}  // namespace
}  // namespace ramet::core
