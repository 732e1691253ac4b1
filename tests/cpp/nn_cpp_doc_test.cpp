/// The C++ of docs/cpp.md, as it stands there (tests/python/test_docs.py compares), and what it claims.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/optimizers.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include <mutex>
#include <thread>

#include "twins.h"

namespace vendor {

// A class that one cannot edit.
struct TowerImpl : torch::nn::Module {
  TowerImpl() { weight = register_parameter("weight", torch::rand({3})); }
  torch::Tensor weight;
  std::vector<torch::nn::Linear> blocks{torch::nn::Linear(1, 1)};
};

}  // namespace vendor

template <>
struct ramet::describe<vendor::TowerImpl>
    : ramet::fields<vendor::TowerImpl, &vendor::TowerImpl::weight, &vendor::TowerImpl::blocks> {};
template struct ramet::enroll<vendor::TowerImpl>;

// Not in the namespace below, which errors would name.
struct UnlistedImpl : torch::nn::Module {
  torch::Tensor forward(torch::Tensor x) { return x; }
};

struct ForgetfulImpl : torch::nn::Module {
  ForgetfulImpl() { weight = register_parameter("weight", torch::rand({2})); }
  ForgetfulImpl(const ForgetfulImpl& other) : Module(), weight(other.weight) {}
  torch::Tensor weight;
  RAMET_MODULE(ForgetfulImpl, weight)
};

struct HalfListedImpl : torch::nn::Module {
  HalfListedImpl() {
    fc1 = register_module("fc1", torch::nn::Linear(2, 2));
    fc2 = register_module("fc2", torch::nn::Linear(2, 2));
  }
  torch::nn::Linear fc1{nullptr}, fc2{nullptr};
  RAMET_MODULE(HalfListedImpl, fc1)  // and not fc2
};

struct OwnOptimizer : torch::optim::SGD {
  using SGD::SGD;
};

namespace {

using ramet::CloneOptions;
using ramet::expect_copied;

struct Counter {
  int64_t steps = 0;
};

struct AgentImpl : torch::nn::Module {
  AgentImpl() {
    trunk = register_module("trunk", torch::nn::Linear(4, 8));
    head = register_module("head", torch::nn::Linear(8, 2));
    scale = register_parameter("scale", torch::ones({2}));
  }
  torch::Tensor forward(const torch::Tensor& x) { return head(torch::relu(trunk(x))) * scale; }

  torch::nn::Linear trunk{nullptr}, head{nullptr};
  torch::Tensor scale;
  std::shared_ptr<Counter> counter = std::make_shared<Counter>();
  double temperature = 1;  // a plain value: not listed
  RAMET_MODULE(AgentImpl, trunk, head, scale, counter)
};
TORCH_MODULE(Agent);

struct Tree {
  virtual ~Tree() = default;
  virtual std::shared_ptr<Tree> copy() const = 0;
};

struct Oak final : Tree {
  std::shared_ptr<Tree> copy() const override { return std::make_shared<Oak>(*this); }
};

struct Settings {
  torch::Tensor prior = torch::ones({2});
};

struct BoundedImpl : AgentImpl {
  static std::shared_ptr<Tree> regrown(const Tree& tree) { return tree.copy(); }
  static torch::Tensor& prior_of(BoundedImpl& net) { return net.settings.prior; }

  torch::Tensor low = torch::zeros({2});
  std::shared_ptr<std::mutex> mutex = std::make_shared<std::mutex>();  // cannot be copied
  std::shared_ptr<Tree> tree = std::make_shared<Oak>();                // polymorphic
  Settings settings;                                                   // a struct without a list that holds a tensor
  using ramet_fields =
      ramet::fields<BoundedImpl, ramet::base<AgentImpl>, &BoundedImpl::low, ramet::keep<&BoundedImpl::mutex>,
                    ramet::copy<&BoundedImpl::tree, &BoundedImpl::regrown>,
                    ramet::via<"prior", &BoundedImpl::prior_of>>;
};
TORCH_MODULE(Bounded);

}  // namespace

template struct ramet::enroll<BoundedImpl>;

namespace {

struct Memory {
  torch::Tensor keys, values;
  using ramet_fields = ramet::fields<Memory, &Memory::keys, &Memory::values>;
};

struct ReaderImpl : torch::nn::Module {
  ReaderImpl() : memory{torch::ones({2}), torch::ones({2})} {}
  Memory memory;
  RAMET_MODULE(ReaderImpl, memory)
};
TORCH_MODULE(Reader);

TEST(CppDocTest, AListInTheClass) {
  Agent agent;
  Agent clone = ramet::clone(agent);
  Agent worker = ramet::clone(agent, CloneOptions().share(true).keep("counter"));

  expect_copied(agent->trunk->weight, clone->trunk->weight);
  expect_copied(agent->scale, clone->scale);
  EXPECT_TRUE(clone->scale.is_same(clone->named_parameters()["scale"]));
  EXPECT_NE(clone->counter, agent->counter);
  EXPECT_TRUE(worker->scale.is_same(agent->scale));
  EXPECT_EQ(worker->counter, agent->counter);
}

TEST(CppDocTest, AListWithPolicies) {
  const Bounded bounded;
  const Bounded clone = ramet::clone(bounded);
  expect_copied(bounded->head->weight, clone->head->weight);
  expect_copied(bounded->low, clone->low);
  expect_copied(bounded->settings.prior, clone->settings.prior);
  EXPECT_EQ(clone->mutex, bounded->mutex);
  EXPECT_NE(clone->tree, bounded->tree);
  EXPECT_TRUE(ramet::clone(bounded, CloneOptions().share("prior"))->settings.prior.is_same(bounded->settings.prior));
}

TEST(CppDocTest, ListsFromOutsideAndOfStructs) {
  const auto tower = std::make_shared<vendor::TowerImpl>();
  const auto clone = ramet::clone(tower);
  expect_copied(tower->weight, clone->weight);
  expect_copied(tower->blocks[0]->weight, clone->blocks[0]->weight);
  const Reader reader;
  expect_copied(reader->memory.keys, ramet::clone(reader)->memory.keys);
  EXPECT_TRUE(ramet::clone(reader, CloneOptions().share("memory.keys"))->memory.keys.is_same(reader->memory.keys));
}

struct ListedImpl : UnlistedImpl {
  RAMET_MODULE(ListedImpl)
};

template <class Source>
std::string error_of(const Source& source, const CloneOptions& options = {}) {
  try {
    ramet::clone(source, options);
  } catch (const ramet::UncloneableError& error) {
    return error.what_without_backtrace();
  }
  return "no error";
}

TEST(CppDocTest, WhatGuardsSayAtRunTime) {
  torch::nn::Sequential net, any, odd;
  net->register_module("odd", std::make_shared<UnlistedImpl>());
  EXPECT_EQ(error_of(net),
            "clone: slot 'odd': type 'UnlistedImpl' lists no members, so a clone could not rebind them; write "
            "RAMET_MODULE(UnlistedImpl, <its tensors, modules and shared state>) last in the class; keep='odd' lets "
            "the clone hold the source's own");
  EXPECT_EQ(ramet::clone(net, CloneOptions().keep("odd"))->children()[0], net->children()[0]);
  any->push_back(torch::nn::AnyModule(std::shared_ptr<UnlistedImpl>(std::make_shared<ListedImpl>())));
  EXPECT_EQ(error_of(any),
            "clone: slot '0': it is held by an AnyModule whose static type 'UnlistedImpl' lists no members, so a clone "
            "could not rebind them; write RAMET_MODULE(UnlistedImpl, <its tensors, modules and shared state>) last in "
            "the class; keep='0' lets the clone hold the source's own");
  odd->register_module("odd", std::make_shared<ForgetfulImpl>());
  EXPECT_EQ(error_of(odd),
            "clone: slot 'odd': the copy constructor of type 'ForgetfulImpl' gives other parameters, buffers or "
            "children than it was given; let it copy its base torch::nn::Module, and register nothing");
}

TEST(CppDocTest, MembersThatAListForgets) {
  EXPECT_EQ(error_of(std::make_shared<HalfListedImpl>(), CloneOptions().check(true)),
            "clone: the source itself: a copy of its class 'HalfListedImpl' still points to the source's 'fc2': the "
            "class has a member that is not in its list; add it there (RAMET_MODULE or ramet::fields), or say "
            "ramet::keep of it if it shall be the source's");
}

TEST(CppDocTest, FromModuleClone) {
  const torch::nn::Linear net(2, 3);
  const torch::Device device = torch::kCPU;
  auto before = std::dynamic_pointer_cast<torch::nn::LinearImpl>(net->clone(device));
  torch::nn::Linear after = ramet::clone(net, CloneOptions().device(device));

  expect_copied(net->weight, before->weight);
  expect_copied(net->weight, after->weight);
}

TEST(CppDocTest, SessionsWithOptimizers) {
  Agent agent;
  torch::optim::Adam optimizer(agent->parameters());
  auto [agent2, optimizer2] = ramet::clone(std::tie(agent, optimizer));  // the optimizer in a unique_ptr

  static_assert(std::is_same_v<decltype(agent2), Agent>);
  static_assert(std::is_same_v<decltype(optimizer2), std::unique_ptr<torch::optim::Adam>>);
  const torch::Tensor x = torch::rand({3, 4});
  for (int i = 0; i < 3; ++i) {
    agent->forward(x).sum().backward();
    agent2->forward(x).sum().backward();
    optimizer.step();
    optimizer2->step();
  }
  expect_copied(agent->head->weight, agent2->head->weight);
  OwnOptimizer own(agent->parameters(), torch::optim::SGDOptions(0.1));
  EXPECT_EQ(error_of(std::tie(agent, own)),
            "clone: slot '1': an optimizer of type 'OwnOptimizer' is none that clone knows (SGD, Adam, AdamW, RMSprop, "
            "Adagrad, LBFGS): make it anew over the clone");
}

TEST(CppDocTest, Threads) {
  const Agent source;
  std::vector<Agent> made(4, nullptr);
  std::vector<std::thread> threads;
  for (Agent& clone : made) threads.emplace_back([&clone, &source] { clone = ramet::clone(source); });
  for (std::thread& thread : threads) thread.join();

  for (const Agent& clone : made) expect_copied(source->scale, clone->scale);
}

TEST(CppDocTest, Errors) {
  const Agent agent;
  std::string text;
  try {
    ramet::clone(agent, CloneOptions().share("haed"));
  } catch (const ramet::PlanError& error) {
    text = error.what_without_backtrace();  // clone: "haed" matches nothing; the nearest names are 'head', ...
  }

  EXPECT_THAT(text, testing::StartsWith("clone: \"haed\" matches nothing; the nearest names are 'head', "));
}

}  // namespace
