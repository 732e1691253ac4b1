/// lazy in the torch::nn front: what is written by whatever means, on either side, stays there; ties and views survive.
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/optimizers.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include "in_threads.h"

namespace {

using ramet::CloneOptions;
using testing::IsEmpty;
using testing::UnorderedElementsAre;
using torch::Tensor;

struct NetImpl : torch::nn::Module {
  NetImpl() {
    embed = register_module("embed", torch::nn::Embedding(12, 4));
    norm = register_module("norm", torch::nn::BatchNorm1d(4));
    lstm = register_module("lstm", torch::nn::LSTM(4, 4));
    head = register_module("head", torch::nn::Linear(torch::nn::LinearOptions(4, 12).bias(false)));
    table = register_buffer("table", torch::arange(24.0).view({4, 6}));
    row = register_buffer("row", table[1]);
  }
  Tensor forward(const Tensor& words) {
    const Tensor hidden = norm(embed(words)).unsqueeze(1);
    return head(std::get<0>(lstm(hidden)).squeeze(1)) + row.sum();
  }
  torch::nn::Embedding embed{nullptr};
  torch::nn::BatchNorm1d norm{nullptr};
  torch::nn::LSTM lstm{nullptr};
  torch::nn::Linear head{nullptr};
  Tensor table, row;
  RAMET_MODULE(NetImpl, embed, norm, lstm, head, table, row)
};
TORCH_MODULE(Net);

Net tied_net() {
  Net net;
  ramet::tie(net, {"embed.weight", "head.weight"});
  return net;
}

Net lazy_clone(const Net& net) { return ramet::clone(net, CloneOptions().lazy(true)); }

Tensor loss(Net& net) { return net->forward(torch::arange(12)).square().sum(); }

std::vector<Tensor> tensors(const Net& net) {
  std::vector<Tensor> result = net->parameters();
  for (const Tensor& buffer : net->buffers()) result.push_back(buffer);
  return result;
}

std::vector<Tensor> values(const Net& net) {
  std::vector<Tensor> result;
  for (const Tensor& tensor : tensors(net)) result.push_back(tensor.detach().clone());
  return result;
}

void expect_same(const Net& net, const std::vector<Tensor>& values) {
  const std::vector<Tensor> now = tensors(net);
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_TRUE(now[i].equal(values[i])) << i;
}

/// What `write` does to one side never shows in the other, nor what the other does afterwards in that one.
void expect_apart(Net writer, Net other, const std::function<void(Net&)>& write) {
  const std::vector<Tensor> before = values(other);
  write(writer);
  const torch::NoGradGuard no_grad;
  expect_same(other, before);
  const std::vector<Tensor> after = values(writer);
  for (const Tensor& tensor : tensors(other)) tensor.detach().fill_(5);
  expect_same(writer, after);
  for (const Net& net : {other, writer}) {
    EXPECT_TRUE(net->head->weight.is_same(net->embed->weight));
    net->row[2] = 77;
    EXPECT_EQ((net->table[1][2].item<float>()), 77);
    EXPECT_TRUE(net->lstm->all_weights()[0].is_same(net->lstm->named_parameters()["weight_ih_l0"]));
  }
}

const std::map<std::string, std::function<void(Net&)>>& writes() {
  using torch::indexing::Slice;
  static const std::map<std::string, std::function<void(Net&)>> result{
      {"in place",
       [](Net& net) {
         for (Tensor& it : tensors(net)) it.detach().add_(1);
       }},
      {"views",
       [](Net& net) {
         net->embed->weight.detach().t().index({Slice(1)}).fill_(3);
         net->row.zero_();
         net->table.unfold(0, 2, 2).add_(1);
       }},
      {"out=",
       [](Net& net) {
         Tensor weight = net->embed->weight.detach();
         torch::add_out(weight, weight, torch::ones(1));
         torch::cumsum_out(net->table, net->table, 0);
       }},
      {".data",
       [](Net& net) {
         net->embed->weight.data().mul_(3);
         net->table.set_data(net->table.variable_data().add_(1));
         net->row.set_data(net->table.variable_data()[1]);
       }},
      {"index",
       [](Net& net) {
         net->table.index_put_({torch::tensor({1, 3})}, 5), net->table.masked_fill_(net->table > 3, -1);
       }},
      {"raw pointer", [](Net& net) { std::memset(net->table.data_ptr(), 1, net->table.nbytes()); }},
      {"accessor", [](Net& net) { net->table.accessor<float, 2>()[1][1] = 9; }},
      {"storage",
       [](Net& net) {
         c10::StorageImpl& storage = *net->table.storage().unsafeGetStorageImpl();
         std::memset(storage.mutable_data(), 1, storage.nbytes());
       }},
      {"foreach",
       [](Net& net) {
         torch::_foreach_mul_({net->table, net->norm->running_mean}, 2.0);
       }},
      {"init", [](Net& net) { torch::nn::init::normal_(net->embed->weight), net->lstm->reset_parameters(); }},
      {"BatchNorm",
       [](Net& net) {
         net->norm(torch::randn({5, 4}) + 3);
       }},
      {"renorm",
       [](Net& net) {
         const auto options = torch::nn::functional::EmbeddingFuncOptions().max_norm(0.1);
         torch::nn::functional::embedding(torch::arange(12), net->embed->weight, options);
       }},
      {"resize",
       [](Net& net) {
         net->table.resize_({8, 6}), net->table.fill_(1), net->table.resize_({4, 6});
       }},
      {"parallel loop",
       [](Net& net) {
         at::parallel_for(0, 24, 1, [&](int64_t begin, int64_t end) {
           for (int64_t i = begin; i < end; ++i) net->table.view(-1)[i].fill_(i + 100);
         });
       }},
      {"swap",
       [](Net& net) {
         const c10::Storage other = torch::ones({12, 4}).storage();
         net->embed->weight.storage().unsafeGetStorageImpl()->swap_data_ptr(*other.unsafeGetStorageImpl());
       }},
      {"backward", [](Net& net) { loss(net).backward(), net->embed->weight.detach().sub_(net->embed->weight.grad()); }},
  };
  return result;
}

TEST(NnLazyTest, NoWriteReachesTheOtherSide) {
  for (const auto& [name, write] : writes()) {
    SCOPED_TRACE(name);
    const Net a = tied_net(), b = tied_net(), c = tied_net();
    expect_apart(lazy_clone(a), a, write);
    expect_apart(b, lazy_clone(b), write);
    expect_apart(lazy_clone(lazy_clone(c)), c, write);
    const std::vector<Net> clones = ramet::clones(tied_net(), 2, CloneOptions().lazy(true));
    expect_apart(clones[0], clones[1], write);
  }
}

TEST(NnLazyTest, ARelationSaysLazyUntilAWrite) {
  Net net = tied_net(), clone = ramet::clone(net, CloneOptions().lazy({ramet::parameters, "row"}).freeze(true));
  const auto rows = ramet::plan(net, CloneOptions().lazy(true));
  EXPECT_EQ(rows.nbytes(), 0);
  EXPECT_EQ(rows.find("head.weight")->why, "lazy=true");
  EXPECT_EQ(ramet::relation(net, clone)["table"], "lazy");
  EXPECT_EQ(ramet::relation(net, clone)["norm.running_var"], "equal");
  EXPECT_THAT(ramet::relation(clone, clone).lazy(), IsEmpty());
  clone->embed->weight.detach().zero_();
  net->row.zero_();
  const auto relation = ramet::relation(net, clone);
  EXPECT_THAT(relation.different(), UnorderedElementsAre("embed.weight", "head.weight", "table", "row"));
  EXPECT_EQ(relation["lstm.bias_hh_l0"], "lazy");
  EXPECT_FALSE(clone->embed->weight.requires_grad());
}

template <class Optimizer, class Options>
void expect_training_apart(const Options& options) {
  for (const bool source_trains : {true, false}) {
    Net net = tied_net();
    auto optimizer = std::make_unique<Optimizer>(net->parameters(), options);
    const auto step = [](Net& net, Optimizer& optimizer) {
      optimizer.step([&] {
        optimizer.zero_grad();
        Tensor result = loss(net);
        result.backward();
        return result;
      });
    };
    step(net, *optimizer);
    auto [net2, optimizer2] = ramet::clone(std::tie(net, optimizer), CloneOptions().lazy(true));
    Net &writer = source_trains ? net : net2, &other = source_trains ? net2 : net;
    Optimizer &writers = source_trains ? *optimizer : *optimizer2, &others = source_trains ? *optimizer2 : *optimizer;
    // Two copies show where each goes on its own.
    Net lone, lone_other;
    std::unique_ptr<Optimizer> alone, alone_other;
    std::tie(lone, alone) = ramet::clone(std::tie(net, optimizer));
    std::tie(lone_other, alone_other) = ramet::clone(std::tie(net, optimizer));
    for (int i = 0; i < 2; ++i) step(writer, writers), step(lone, *alone);
    expect_same(other, values(lone_other));
    step(other, others), step(lone_other, *alone_other);
    expect_same(writer, values(lone));
    expect_same(other, values(lone_other));
  }
}

TEST(NnLazyTest, EveryOptimizerTrainsItsSideAlone) {
  using namespace torch::optim;
  expect_training_apart<SGD>(SGDOptions(0.01).momentum(0.9));
  expect_training_apart<Adam>(AdamOptions(0.01).amsgrad(true));
  expect_training_apart<AdamW>(AdamWOptions(0.01));
  expect_training_apart<RMSprop>(RMSpropOptions(0.01).momentum(0.5));
  expect_training_apart<Adagrad>(AdagradOptions(0.01));
  expect_training_apart<LBFGS>(LBFGSOptions(0.01).max_iter(2));
}

TEST(NnLazyTest, ThreadsCloneReadAndWriteAtOnce) {
  Net net = tied_net();
  net->eval();
  const std::vector<Tensor> before = values(net);
  const Tensor rows = net->embed(torch::arange(12));
  ramet::in_threads(8, [&](int thread) {
    const torch::NoGradGuard no_grad;
    for (int i = 0; i < 20; ++i) {
      const Net clone = lazy_clone(net), again = lazy_clone(clone);
      for (const Tensor& tensor : tensors(clone)) tensor.fill_(thread);
      EXPECT_TRUE(net->embed->forward(torch::arange(12)).equal(rows));
      for (const Tensor& tensor : tensors(clone)) EXPECT_TRUE(tensor.eq(thread).all().item<bool>());
      expect_same(again, before);
    }
  });
  expect_same(net, before);
}

// A source, its clone and theirs, each written to in a thread of its own: all leave one memory at once.
TEST(NnLazyTest, ManyHoldersLeaveOneMemoryAtOnce) {
  for (int round = 0; round < 20; ++round) {
    std::vector<Tensor> all{torch::arange(10000)};
    for (int i = 1; i < 8; ++i) all.push_back(ramet::clone(std::vector{all[i / 2]}, CloneOptions().lazy(true))[0]);
    ramet::in_threads(8, [&](int thread) {
      if (thread == 3) return all[thread].reset();
      all[thread].add_(thread);
      EXPECT_EQ(all[thread].sum().item<int64_t>(), 49995000 + 10000 * thread);
    });
  }
}

}  // namespace
