/// One source, several threads: clones of it in each, and clones while others compute with it.
#include <ramet/optimizers.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include "in_threads.h"
#include "twins.h"

namespace {

using ramet::CloneOptions;
using ramet::in_threads;

struct NetImpl : torch::nn::Module {
  NetImpl() {
    embed = register_module("embed", torch::nn::Embedding(50, 16));
    body = register_module("body", torch::nn::Sequential(torch::nn::Linear(16, 16), torch::nn::ReLU()));
    lstm = register_module("lstm", torch::nn::LSTM(16, 16));
    head = register_module("head", torch::nn::Linear(16, 50));
    table = std::make_shared<std::vector<torch::Tensor>>(1, torch::ones(3));
    owner = this;
  }
  torch::Tensor forward(const torch::Tensor& words) { return head(std::get<0>(lstm(body->forward(embed(words))))); }
  torch::nn::Embedding embed{nullptr};
  torch::nn::Sequential body{nullptr};
  torch::nn::LSTM lstm{nullptr};
  torch::nn::Linear head{nullptr};
  std::shared_ptr<std::vector<torch::Tensor>> table;
  NetImpl* owner;
  RAMET_MODULE(NetImpl, embed, body, lstm, head, table, owner)
};
TORCH_MODULE(Net);

Net tied_net() {
  Net net;
  ramet::tie(net, {"embed.weight", "head.weight"});
  return net;
}

const torch::Tensor& words() {
  static const torch::Tensor result = torch::arange(12).view({6, 2});
  return result;
}

TEST(ThreadsTest, EightThreadsCloneOneSource) {
  Net net = tied_net();
  const torch::Tensor expected = net->forward(words());
  std::vector<std::vector<Net>> clones(8);
  in_threads(8, [&](int thread) {
    for (int i = 0; i < 10; ++i) clones[thread].push_back(ramet::clone(net));
  });
  std::set<const void*> weights{net->embed->weight.data_ptr()};
  for (const std::vector<Net>& each : clones) {
    for (const Net& clone : each) {
      EXPECT_TRUE(weights.insert(clone->embed->weight.data_ptr()).second);
      EXPECT_TRUE(clone->head->weight.is_same(clone->embed->weight));
      EXPECT_EQ(clone->owner, clone.get());
      EXPECT_TRUE(Net(clone)->forward(words()).equal(expected));
    }
  }
  ramet::expect_twins(*net, *clones[7][9]);
}

TEST(ThreadsTest, EveryModeAndQuestionCanBeAskedAtOnce) {
  Net net = tied_net();
  torch::optim::Adam optimizer(net->parameters());
  net->forward(words()).sum().backward();
  optimizer.step();
  const CloneOptions options[] = {CloneOptions(),
                                  CloneOptions().share(true),
                                  CloneOptions().alias(ramet::parameters).keep("table"),
                                  CloneOptions().meta("lstm"),
                                  CloneOptions().untie("head.weight").freeze("embed").grads(true),
                                  CloneOptions().dtype(torch::kDouble),
                                  CloneOptions().check(true)};
  std::vector<int64_t> bytes;
  for (const CloneOptions& each : options) bytes.push_back(ramet::plan(net, each).nbytes());
  std::atomic<int> ties = 0, plans = 0, trained = 0;
  in_threads(8, [&](int thread) {
    for (int i = 0; i < 10; ++i) {
      if (thread < 7) {
        const auto clones = ramet::clones(net, 2, options[thread]);
        plans += ramet::plan(net, options[thread]).nbytes() == bytes[thread];
        ties += ramet::catalog(net).size() == 1;
      } else {
        auto [net2, optimizer2] = ramet::clone(std::tie(net, optimizer));
        net2->forward(words()).sum().backward();
        optimizer2->step();
        trained += !net2->embed->weight.equal(net->embed->weight);
      }
    }
  });
  EXPECT_EQ(ties, 70);
  EXPECT_EQ(plans, 70);
  EXPECT_EQ(trained, 10);
}

TEST(ThreadsTest, CloningDisturbsNoForwardAndNoBackward) {
  Net net = tied_net();
  const torch::Tensor expected = net->forward(words());
  std::atomic<int> equal = 0;
  in_threads(4, [&](int thread) {
    for (int i = 0; i < 20; ++i) {
      if (thread < 2) {
        equal += net->forward(words()).equal(expected);
      } else {
        Net clone = ramet::clone(net, thread == 2 ? CloneOptions() : CloneOptions().alias(ramet::parameters));
        const torch::Tensor output = clone->forward(words());
        output.sum().backward();
        equal += output.equal(expected) && clone->embed->weight.grad().defined();
      }
    }
  });
  EXPECT_EQ(equal, 80);
  EXPECT_FALSE(net->embed->weight.grad().defined());
}

TEST(ThreadsTest, ClonesAreMadeInOneThreadAndFreedInAnother) {
  const Net net = tied_net();
  std::mutex mutex;
  std::vector<Net> made;
  in_threads(4, [&](int thread) {
    for (int i = 0; i < 40; ++i) {
      std::optional<Net> mine;
      if (thread % 2 == 0) mine = ramet::clone(net);
      const std::lock_guard lock(mutex);
      if (mine) {
        made.push_back(*std::move(mine));
      } else if (!made.empty()) {
        made.pop_back();
      }
    }
  });
  for (const Net& clone : made) EXPECT_TRUE(clone->lstm->parameters()[0].equal(net->lstm->parameters()[0]));
}

}  // namespace
