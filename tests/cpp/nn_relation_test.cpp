/// Relations of torch::nn models: from every kind of source, after every kind of clone, and of classes without a list.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

namespace {

using ramet::CloneOptions;
using ramet::Relation;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

struct NetImpl : torch::nn::Module {
  NetImpl() : embed(6, 4), norm(torch::nn::LayerNormOptions({4})), cache(torch::ones(2)) {
    head = register_parameter("head", embed->weight);
    register_module("embed", embed);
    register_module("norm", norm);
  }
  torch::nn::Embedding embed;
  torch::nn::LayerNorm norm;
  torch::Tensor head, cache;
  RAMET_MODULE(NetImpl, embed, norm, head, cache)
};
TORCH_MODULE(Net);

struct UnlistedImpl : torch::nn::Module {
  UnlistedImpl() { register_parameter("weight", torch::ones(1)); }
};

TEST(RelationTest, SaysWhatACloneShares) {
  Net net;
  const Relation relation = ramet::relation(net, ramet::clone(net, CloneOptions().share("embed")));
  EXPECT_THAT(relation.shared(), ElementsAre("head", "embed.weight"));
  EXPECT_THAT(relation.equal(), ElementsAre("norm.weight", "norm.bias", "cache"));
  EXPECT_THAT(relation.ties_a(), IsEmpty());
  EXPECT_THAT(ramet::relation(net, ramet::clone(net)).equal(), SizeIs(5));
  EXPECT_THAT(ramet::relation(net, net).shared(), SizeIs(5));
}

TEST(RelationTest, FollowsTheModelsOnlyWhenAskedAgain) {
  Net net;
  Net clone = ramet::clone(net);
  const Relation before = ramet::relation(net, clone);
  {
    const torch::NoGradGuard no_grad;
    clone->norm->weight.fill_(7);
    clone->register_buffer("later", torch::zeros(1));
  }
  const Relation after = ramet::relation(net, clone);
  EXPECT_EQ(before["norm.weight"], "equal");
  EXPECT_EQ(after["norm.weight"], "different");
  EXPECT_THAT(after.only_b(), ElementsAre("later"));
}

TEST(RelationTest, ADetachedTensorIsAliased) {
  torch::nn::Linear a(2, 2), b(2, 2);
  b->weight.set_data(a->weight);
  EXPECT_EQ(ramet::relation(a, b)["weight"], "aliased");
}

TEST(RelationTest, TakesHoldersPointersReferencesAndSessions) {
  torch::nn::Linear a(2, 2), b(2, 2);
  EXPECT_THAT(ramet::relation(a.ptr(), *a).shared(), ElementsAre("weight", "bias"));
  EXPECT_THAT(ramet::relation(std::tuple(a, b), std::vector{a, a}).shared(), ElementsAre("0.weight", "0.bias"));
  EXPECT_THAT(ramet::relation(std::pair(a, b), std::vector{a, a}).ties_b(), SizeIs(1));
  EXPECT_THAT(ramet::relation(std::map<std::string, torch::nn::Linear>{{"x", a}}, a).only_b(),
              ElementsAre("weight", "bias"));
  EXPECT_THROW(ramet::relation(a, torch::nn::Linear(nullptr)), ramet::PlanError);
}

TEST(RelationTest, ClassesWithoutAListAreComparedByWhatTheyRegister) {
  const auto a = std::make_shared<UnlistedImpl>(), b = std::make_shared<UnlistedImpl>();
  EXPECT_EQ(ramet::relation(a, b)["weight"], "equal");
}

TEST(RelationTest, ChangesNothing) {
  Net net, other;
  const auto version = net->embed->weight._version();
  const auto uses = net->embed->weight.use_count();
  const auto state = at::detail::getDefaultCPUGenerator().get_state();
  ramet::relation(net, other);
  EXPECT_EQ(net->embed->weight._version(), version);
  EXPECT_TRUE(at::detail::getDefaultCPUGenerator().get_state().equal(state));
  EXPECT_EQ(net->embed->weight.use_count(), uses);
}

}  // namespace
