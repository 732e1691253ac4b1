/// The C++ of docs/rules.md, as it stands there (tests/python/test_docs.py compares), and what it claims.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/optimizers.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

namespace {

using ramet::CloneOptions;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

struct Counter {
  int64_t steps = 0;
};

struct NetImpl : torch::nn::Module {
  NetImpl() {
    embed = register_module("embed", torch::nn::Embedding(6, 4));
    norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({4})));
    head = register_parameter("head", embed->weight);  // tied
  }
  torch::Tensor forward(const torch::Tensor& tokens) { return norm(embed(tokens)).matmul(head.t()); }

  torch::nn::Embedding embed{nullptr};
  torch::nn::LayerNorm norm{nullptr};
  torch::Tensor head;
  std::shared_ptr<Counter> counter = std::make_shared<Counter>();
  RAMET_MODULE(NetImpl, embed, norm, head, counter)
};
TORCH_MODULE(Net);

torch::Tensor tokens() { return torch::tensor({1, 2}); }

TEST(RulesDocTest, Modes) {
  Net net;
  auto twin = ramet::clone(net);
  auto tower = ramet::clone(net, CloneOptions().share(true));
  auto apart = ramet::clone(net, CloneOptions().share(true).copy("norm"));  // the narrower rule wins
  auto worker = ramet::clone(net, CloneOptions().alias(ramet::parameters));
  auto variant = ramet::clone(net, CloneOptions().lazy(true));         // free until one of the two is written
  auto fast = ramet::clone(net, CloneOptions().differentiable(true));  // gradients flow back to the net
  auto fresh = ramet::clone(net, CloneOptions().init("norm"));  // by its reset_parameters(); reset() is never called
  auto skeleton = ramet::clone(net, CloneOptions().meta(true));

  fast->forward(tokens()).sum().backward();
  EXPECT_TRUE(net->norm->bias.grad().defined());
  EXPECT_TRUE(fast->head.is_same(fast->embed->weight));
  EXPECT_THAT(ramet::relation(net, fresh).equal(), SizeIs(4));
  EXPECT_FALSE(fresh->norm->weight.is_alias_of(net->norm->weight));
  EXPECT_THAT(ramet::relation(net, twin).equal(), SizeIs(4));
  EXPECT_TRUE(twin->head.is_same(twin->embed->weight));
  EXPECT_THAT(ramet::relation(net, tower).shared(), SizeIs(4));
  EXPECT_THAT(ramet::relation(net, apart).equal(), ElementsAre("norm.weight", "norm.bias"));
  EXPECT_THAT(ramet::relation(net, worker).aliased(), SizeIs(4));
  EXPECT_THAT(ramet::relation(net, variant).lazy(), SizeIs(4));
  EXPECT_TRUE(skeleton->head.is_meta());
}

TEST(RulesDocTest, Initializer) {
  Net net;
  auto zeros = ramet::clone(net, CloneOptions().init(true).initializer([](torch::nn::Module& module) {
    for (auto& parameter : module.parameters()) torch::nn::init::zeros_(parameter);
  }));

  EXPECT_FALSE(zeros->head.any().item<bool>());
  EXPECT_TRUE(zeros->head.is_same(zeros->embed->weight));
  EXPECT_TRUE(net->norm->weight.all().item<bool>());
}

TEST(RulesDocTest, Maml) {
  torch::nn::Linear net(1, 1);
  const torch::Tensor x = torch::rand({10, 1});
  auto clone = ramet::clone(net, CloneOptions().differentiable(true));
  auto weights = clone->parameters();
  const auto grads = torch::autograd::grad({(clone(x) - x).square().mean()}, weights, {}, true, /*create_graph=*/true);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = weights[i] - 0.1 * grads[i];
  ramet::assign(clone, weights);                  // a step
  (clone(x + 1) - x).square().mean().backward();  // through it, to the net

  EXPECT_TRUE(net->weight.grad().defined());
  EXPECT_TRUE(clone->weight.is_same(weights[0]));
}

TEST(RulesDocTest, Ensemble) {
  const torch::nn::Linear net(4, 2);
  auto members = ramet::clones(net, 5, CloneOptions().init(true));
  auto one_weight = ramet::clones(net, 5, CloneOptions().share("weight").init("bias"));

  EXPECT_FALSE(members[0]->weight.equal(members[4]->weight));
  EXPECT_FALSE(members[0]->weight.equal(net->weight));
  EXPECT_TRUE(one_weight[0]->weight.is_same(net->weight));
  EXPECT_FALSE(one_weight[0]->bias.equal(one_weight[4]->bias));
}

TEST(RulesDocTest, Selectors) {
  Net net;
  auto by_path = ramet::clone(net, CloneOptions().share({"embed", "*.bias"}));
  auto by_type = ramet::clone(net, CloneOptions().share(ramet::type<torch::nn::LayerNormImpl>()));
  auto by_object = ramet::clone(net, CloneOptions().share({net->norm, net->embed->weight}));
  auto by_predicate = ramet::clone(net, CloneOptions().share([](std::string_view path, const at::Tensor& tensor) {
    return path.starts_with("norm") && tensor.dim() == 1;
  }));

  EXPECT_THAT(ramet::relation(net, by_path).equal(), ElementsAre("norm.weight"));
  EXPECT_THAT(ramet::relation(net, by_type).shared(), ElementsAre("norm.weight", "norm.bias"));
  EXPECT_THAT(ramet::relation(net, by_object).shared(), SizeIs(4));
  EXPECT_THAT(ramet::relation(net, by_predicate).shared(), ElementsAre("norm.weight", "norm.bias"));
}

TEST(RulesDocTest, KeepFreezeUntieGrads) {
  Net net;
  auto kept = ramet::clone(net, CloneOptions().keep({"norm", "counter"}));
  auto frozen = ramet::clone(net, CloneOptions().share("norm").freeze(true));  // the norm goes on training
  auto untied = ramet::clone(net, CloneOptions().share(true).untie("head"));   // a copy under that name
  net->forward(tokens()).sum().backward();
  auto with_grads = ramet::clone(net, CloneOptions().grads(true));

  EXPECT_EQ(kept->norm.ptr(), net->norm.ptr());
  EXPECT_EQ(kept->counter, net->counter);
  EXPECT_NE(frozen->counter, net->counter);
  EXPECT_FALSE(frozen->head.requires_grad());
  EXPECT_TRUE(frozen->norm->weight.requires_grad());
  EXPECT_THAT(ramet::relation(net, untied).equal(), ElementsAre("head"));
  EXPECT_FALSE(untied->head.grad().defined());
  EXPECT_TRUE(with_grads->head.grad().equal(net->head.grad()));
  EXPECT_FALSE(with_grads->head.grad().is_alias_of(net->head.grad()));
}

TEST(RulesDocTest, ConversionsPlansAndErrors) {
  Net net;
  auto serving = ramet::clone(net, CloneOptions().device(torch::kCPU).dtype(torch::kHalf).freeze(true));
  auto plan = ramet::plan(net, CloneOptions().share("norm"));  // prints as a table; so does relation(net, serving)
  std::string text;
  try {
    ramet::clone(net, CloneOptions().share("norm").dtype(torch::kHalf));
  } catch (const ramet::PlanError& error) {  // a c10::ValueError, raised before anything is allocated
    text = error.what_without_backtrace();   // names the slot, and what to write instead
  }

  EXPECT_EQ(serving->head.dtype(), torch::kHalf);
  EXPECT_TRUE(serving->head.is_same(serving->embed->weight));
  EXPECT_EQ(plan.nbytes(), 96);
  EXPECT_EQ(text,
            "clone: slot 'norm.weight' (cpu, Float): dtype=Half cannot apply to it: it would have to change, and it is "
            "shared: move the source before, or copy it");
}

TEST(RulesDocTest, InPlace) {
  Net net;
  ramet::untie(net, {"head"});
  ramet::tie(net, {"embed.weight", "head"});
  ramet::assign(net, {{"head", torch::zeros({6, 4})}});  // the embedding's too: they are tied

  EXPECT_TRUE(net->embed->weight.is_same(net->head));
  EXPECT_FALSE(net->embed->weight.any().item<bool>());
}

TEST(RulesDocTest, SiameseTowers) {
  Net left;
  auto right = ramet::clone(left, CloneOptions().share(true));
  (left->forward(tokens()) - 2 * right->forward(tokens())).pow(2).sum().backward();  // fills the gradients of both

  EXPECT_TRUE(left->norm->bias.grad().defined());
  EXPECT_TRUE(left->norm->bias.grad().is_same(right->norm->bias.grad()));
}

TEST(RulesDocTest, PolicyAndValueHeads) {
  Net policy;
  auto value = ramet::clone(policy, CloneOptions().share(true).untie("head"));  // one trunk, two heads

  EXPECT_THAT(ramet::relation(policy, value).shared(), ElementsAre("embed.weight", "norm.weight", "norm.bias"));
  EXPECT_FALSE(value->head.is_alias_of(policy->head));
  EXPECT_THAT(ramet::catalog(value), IsEmpty());
}

TEST(RulesDocTest, Worker) {
  Net agent;
  auto worker = ramet::clone(agent, CloneOptions().alias(ramet::parameters).keep("counter"));
  torch::optim::SGD optimizer(worker->parameters(), 0.1);
  worker->forward(tokens()).sum().backward();  // the agent's gradients stay as they are
  optimizer.step();                            // moves the agent's weights
  worker->counter->steps += 1;                 // counts for all

  EXPECT_TRUE(agent->norm->bias.ne(0).any().item<bool>());  // it starts as zeros
  EXPECT_TRUE(agent->norm->bias.equal(worker->norm->bias));
  EXPECT_FALSE(agent->norm->bias.grad().defined());
  EXPECT_EQ(agent->counter->steps, 1);
  EXPECT_THAT(ramet::relation(agent, worker).aliased(), SizeIs(4));
}

TEST(RulesDocTest, ReferenceModel) {
  Net net;
  auto reference = ramet::clone(net, CloneOptions().lazy(true).freeze(true));  // free until the net trains
  reference->eval();

  EXPECT_THAT(ramet::relation(net, reference).lazy(), SizeIs(4));
  EXPECT_FALSE(reference->head.requires_grad());
  EXPECT_TRUE(net->head.requires_grad());
  EXPECT_THROW(ramet::clone(net, CloneOptions().share(true).freeze(true)), ramet::PlanError);
}

TEST(RulesDocTest, LayersFromOne) {
  torch::nn::TransformerEncoderLayer layer(torch::nn::TransformerEncoderLayerOptions(8, 2));
  auto transformer = ramet::clones(layer, 6);                         // a std::vector of layers that only start equal
  auto albert = ramet::clones(layer, 6, CloneOptions().share(true));  // six modules, one set of weights

  EXPECT_THAT(ramet::relation(transformer[0], transformer[5]).equal(), SizeIs(12));
  EXPECT_THAT(ramet::relation(albert[0], albert[5]).shared(), SizeIs(12));
  EXPECT_NE(albert[0].ptr(), albert[5].ptr());
}

TEST(RulesDocTest, SkeletonThatLoads) {
  Net net;
  auto skeleton = ramet::clone(net, CloneOptions().meta(true));
  const std::map<std::string, torch::Tensor> checkpoint{
      {"embed.weight", torch::rand({6, 4})}, {"norm.weight", torch::ones({4})}, {"norm.bias", torch::zeros({4})}};
  ramet::assign(skeleton, checkpoint);  // by one name of each; no copies, and ties hold

  EXPECT_TRUE(skeleton->head.is_alias_of(checkpoint.at("embed.weight")));
  EXPECT_TRUE(skeleton->head.is_same(skeleton->embed->weight));
  EXPECT_TRUE(skeleton->head.requires_grad());
  EXPECT_FALSE(skeleton->norm->bias.is_meta());
}

TEST(RulesDocTest, PartOfABiggerModel) {
  Net net;
  auto embed = ramet::clone(net->embed, CloneOptions().within(net));  // its weight is the net's, tied to net->head
  auto alone = ramet::clone(net->embed);                              // its weight is a copy

  EXPECT_TRUE(embed->weight.is_same(net->head));
  EXPECT_NE(embed.ptr(), net->embed.ptr());
  EXPECT_FALSE(alone->weight.is_alias_of(net->head));
}

TEST(RulesDocTest, SessionWithAnOptimizer) {
  Net encoder, decoder;
  decoder->norm = encoder->norm;
  decoder->replace_module("norm", encoder->norm);  // the norm of both: a tie between the two
  torch::optim::Adam adam(encoder->parameters());
  auto [encoder2, decoder2, adam2] = ramet::clone(std::tie(encoder, decoder, adam));  // with <ramet/optimizers.h>

  EXPECT_EQ(encoder2->norm.ptr(), decoder2->norm.ptr());
  EXPECT_NE(encoder2->norm.ptr(), encoder->norm.ptr());
  EXPECT_TRUE(adam2->param_groups()[0].params()[0].is_same(encoder2->head));
}

}  // namespace
