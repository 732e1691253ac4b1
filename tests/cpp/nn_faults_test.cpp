/// Memory that ends at any point of a clone: an exception, nothing left behind, and the source as it was.
#include <gtest/gtest.h>
#include <ramet/optimizers.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include <fstream>

#include "../faults/faults.h"
#include "twins.h"

#ifdef __linux__
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace {

using ramet::CloneOptions;

struct Counter {
  std::vector<int> steps{1, 2, 3};
};

/// Ties, views, plain state, gradients, a tensor with a mapping of its own, and LibTorch's awkward modules.
struct NetImpl : torch::nn::Module {
  NetImpl() : embed(300, 1000), head(torch::nn::LinearOptions(1000, 300)), lstm(4, 4), counter(new Counter) {
    register_module("embed", embed);
    register_module("head", head);
    register_module("lstm", lstm);
    layers->push_back("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({8})));
    layers->push_back("relu", torch::nn::ReLU());
    register_module("layers", layers);
    base = register_buffer("base", torch::arange(40.0));
    part = register_buffer("part", base.slice(0, 5, 9));
    table = register_buffer("table", torch::eye(3).to_sparse());
    head->bias.mutable_grad() = torch::ones_like(head->bias);
  }

  torch::nn::Embedding embed;
  torch::nn::Linear head;
  torch::nn::LSTM lstm;
  torch::nn::Sequential layers;
  torch::Tensor base, part, table;
  std::shared_ptr<Counter> counter;
  RAMET_MODULE(NetImpl, embed, head, lstm, layers, base, part, table, counter)
};
TORCH_MODULE(Net);

Net tied() {
  Net net;
  ramet::tie(net, {"embed.weight", "head.weight"});
  return net;
}

/// Everything that a clone might change of its source, or keep hold of.
std::vector<int64_t> state_of(const Net& net) {
  std::vector<int64_t> result{net.ptr().use_count(), net->counter.use_count(), ramet::memory::stats().in_use};
  for (const auto& module : net->modules(/*include_self=*/false)) result.push_back(module.use_count());
  const auto add = [&](const torch::Tensor& tensor) {
    result.push_back(tensor.getIntrusivePtr().use_count());
    result.push_back(tensor.is_sparse() ? 0 : tensor.storage().use_count());
    result.push_back(tensor._version());
    result.push_back(tensor.requires_grad());
    result.push_back(tensor.is_sparse() ? 0 : tensor.sum().item<double>());
  };
  for (const auto& tensor : net->parameters()) add(tensor);
  for (const auto& tensor : net->buffers()) add(tensor);
  return result;
}

/// Lets the first allocation of `run` fail, then the second, until it needs no more. Returns how often it threw: what
/// can do without (a sort's buffer), or ask again after the cache is emptied, does.
template <class Run>
int fail_everywhere(const Net& net, const Run& run) {
  at::set_num_threads(1);
  run();  // what is made once in a process is there now
  const auto before = state_of(net);
  int thrown = 0;
  for (int k = 0;; ++k) {
    ramet::memory::empty_cache();
    ramet_fail_at(k);
    try {
      run();
    } catch (const std::exception&) {
      ++thrown;
    }
    const bool failed = ramet_failed();
    EXPECT_EQ(state_of(net), before) << k;
    if (!failed || testing::Test::HasFailure()) return thrown;
  }
}

TEST(FaultsTest, MemoryThatEndsAtAnyPointOfACloneLeavesNothing) {
  const Net net = tied();
  EXPECT_GT(fail_everywhere(net, [&] { ramet::clone(net); }), 100);
  ramet::expect_own(net->embed->weight, ramet::clone(net)->embed->weight);
}

TEST(FaultsTest, NorOfOneWithRules) {
  const Net net = tied();
  const auto options =
      CloneOptions().share("layers").alias("base").keep("counter").untie("head.weight").freeze("embed").grads(true);
  EXPECT_GT(fail_everywhere(net, [&] { ramet::clone(net, options); }), 100);
  EXPECT_GT(fail_everywhere(net, [&] { ramet::clone(net, CloneOptions().dtype(torch::kDouble)); }), 100);
  EXPECT_GT(fail_everywhere(net, [&] { ramet::clone(net, CloneOptions().meta({"lstm", "head"})); }), 100);
  EXPECT_GT(fail_everywhere(net, [&] { ramet::clone(net, CloneOptions().lazy(true)); }), 100);
}

TEST(FaultsTest, NorOfSeveral) {
  const Net net = tied();
  EXPECT_GT(fail_everywhere(net, [&] { ramet::clones(net, 3); }), 100);
}

TEST(FaultsTest, NorOfASessionWithAnOptimizer) {
  const Net net = tied();
  const auto optimizer = std::make_shared<torch::optim::Adam>(net->embed->parameters());
  net->embed->weight.mutable_grad() = torch::ones_like(net->embed->weight);
  optimizer->step();
  EXPECT_GT(fail_everywhere(net, [&] { ramet::clone(std::tuple(net, optimizer)); }), 100);
}

TEST(FaultsTest, NorOfAPlanACatalogOrARelation) {
  const Net net = tied(), other = ramet::clone(net);
  EXPECT_GT(fail_everywhere(net, [&] { ramet::plan(net, CloneOptions().share("embed")); }), 10);
  EXPECT_GT(fail_everywhere(net, [&] { ramet::catalog(net); }), 10);
  EXPECT_GT(fail_everywhere(net, [&] { ramet::relation(net, other); }), 10);
}

#ifdef __linux__
TEST(FaultsTest, AProcessThatMayHaveNoMoreMemoryRaisesAndGoesOn) {
  const pid_t child = fork();
  if (child == 0) {
    at::set_num_threads(1);
    ramet::memory::set_limit(0);
    const torch::nn::Linear big(torch::nn::LinearOptions(4096, 4096)), small(torch::nn::LinearOptions(8, 8));
    rlimit limit{};
    getrlimit(RLIMIT_AS, &limit);
    std::ifstream pages("/proc/self/statm");
    std::size_t used = 0;
    pages >> used;
    limit.rlim_cur = used * sysconf(_SC_PAGESIZE) + (std::size_t{32} << 20);
    setrlimit(RLIMIT_AS, &limit);
    for (const int64_t cached : {0, 1 << 30}) {
      ramet::memory::set_limit(cached);
      const auto before = ramet::memory::stats().in_use;
      bool thrown = false;
      try {
        ramet::clone(big);
      } catch (const c10::OutOfMemoryError&) {
        thrown = true;
      }
      if (!thrown || ramet::memory::stats().in_use != before) _exit(1);
      if (!ramet::clone(small)->weight.equal(small->weight)) _exit(2);
    }
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}
#endif

}  // namespace
