/// Clones of torch::nn modules with nothing shared: what upstream's own tests ask of clone(), and what clone() gets
/// wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include "twins.h"

namespace {

using ramet::expect_twins;
using testing::HasSubstr;

struct NetImpl : torch::nn::Module {
  NetImpl() : l1(10, 3), l2(3, 5), l3(5, 100) {
    register_module("l1", l1);
    register_module("l2", l2);
    register_module("l3", l3);
    buffer = register_buffer("buf", torch::ones({2, 2}));
  }
  torch::Tensor forward(const torch::Tensor& x) { return l3(torch::relu(l2(l1(x)))); }

  torch::nn::Linear l1, l2, l3;
  torch::Tensor buffer;
  RAMET_MODULE(NetImpl, l1, l2, l3, buffer)
};
TORCH_MODULE(Net);

TEST(CloneTest, CreatesDistinctParametersAndBuffers) {
  Net net;
  Net clone = ramet::clone(net);
  expect_twins(*net, *clone);
  EXPECT_NE(net.ptr(), clone.ptr());
}

TEST(CloneTest, MembersAreTheClonesOwn) {
  Net net;
  Net clone = ramet::clone(net);
  EXPECT_TRUE(clone->l1->weight.is_same(clone->named_parameters()["l1.weight"]));
  EXPECT_TRUE(clone->buffer.is_same(clone->named_buffers()["buf"]));
  EXPECT_EQ(clone->l2.ptr(), clone->named_children()["l2"]);
  const auto x = torch::rand({4, 10});
  EXPECT_TRUE(net->forward(x).equal(clone->forward(x)));
}

struct ModelImpl : torch::nn::Module {
  ModelImpl() {
    inner = register_module("inner", std::make_shared<NetImpl>());
    reference = inner->l1;
    weight = inner->l2->weight;
  }
  std::shared_ptr<NetImpl> inner;
  torch::nn::Linear reference{nullptr};
  torch::Tensor weight;
  RAMET_MODULE(ModelImpl, inner, reference, weight)
};

TEST(CloneTest, PreservesExternalReferences) {
  const auto model = std::make_shared<ModelImpl>();
  const auto clone = ramet::clone(model);
  EXPECT_EQ(clone->reference.ptr(), clone->inner->l1.ptr());
  EXPECT_NE(clone->reference.ptr(), model->reference.ptr());
  EXPECT_TRUE(clone->weight.is_same(clone->inner->l2->weight));
  EXPECT_EQ(model->reference.ptr(), model->inner->l1.ptr());
}

TEST(CloneTest, TheRandomStateDoesNotAdvance) {
  torch::nn::Transformer net(torch::nn::TransformerOptions(16, 2, 1, 1).dim_feedforward(16));
  const torch::Tensor before = at::detail::getDefaultCPUGenerator().get_state();
  ramet::clone(net);
  EXPECT_TRUE(before.equal(at::detail::getDefaultCPUGenerator().get_state()));
}

TEST(CloneTest, FrozenParametersStayFrozenAndGradientsAreDropped) {
  Net net;
  net->l1->weight.requires_grad_(false);
  net->forward(torch::ones({1, 10})).sum().backward();
  Net clone = ramet::clone(net);
  EXPECT_FALSE(clone->l1->weight.requires_grad());
  EXPECT_TRUE(clone->l2->weight.requires_grad());
  EXPECT_FALSE(clone->l2->weight.grad().defined());
  EXPECT_TRUE(net->l2->weight.grad().defined());
}

TEST(CloneTest, TheTrainingFlagOfEveryModuleIsKept) {
  torch::nn::Sequential net(torch::nn::Linear(2, 2), torch::nn::Dropout(0.5));
  net[1]->eval();
  torch::nn::Sequential clone = ramet::clone(net);
  EXPECT_TRUE(clone->is_training());
  EXPECT_FALSE(clone[1]->is_training());
  net->eval();
  EXPECT_FALSE(ramet::clone(net)->is_training());
}

TEST(CloneTest, SequentialKeepsChildNamesAndRuns) {
  torch::nn::Sequential net(
      {{"first", torch::nn::Linear(3, 4)}, {"act", torch::nn::ReLU()}, {"last", torch::nn::Linear(4, 2)}});
  torch::nn::Sequential clone = ramet::clone(net);
  expect_twins(*net, *clone);
  EXPECT_EQ(clone->named_children().keys(), (std::vector<std::string>{"first", "act", "last"}));
  const auto x = torch::rand({2, 3});
  EXPECT_TRUE(net->forward(x).equal(clone->forward(x)));
  EXPECT_EQ(clone[0], clone->named_children()["first"]);
}

TEST(CloneTest, ModuleListAndModuleDictHoldTheClonesModules) {
  torch::nn::ModuleList list(torch::nn::Linear(3, 4), torch::nn::BatchNorm1d(4), torch::nn::Dropout(0.5));
  torch::nn::ModuleList list_clone = ramet::clone(list);
  expect_twins(*list, *list_clone);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(list_clone[i], list_clone->children()[i]);
  torch::nn::ModuleDict dict;
  dict->update(std::vector<std::pair<std::string, std::shared_ptr<torch::nn::Module>>>{
      {"linear", torch::nn::Linear(10, 3).ptr()}, {"batchnorm", torch::nn::BatchNorm1d(4).ptr()}});
  torch::nn::ModuleDict dict_clone = ramet::clone(dict);
  expect_twins(*dict, *dict_clone);
  EXPECT_EQ(dict_clone["linear"], dict_clone->named_children()["linear"]);
}

TEST(CloneTest, ParameterListAndParameterDictAreCloned) {
  torch::nn::ParameterList list(torch::rand({2}), torch::rand({3}));
  expect_twins(*list, *ramet::clone(list));
  torch::nn::ParameterDict dict;
  dict->insert("a", torch::rand({2}));
  expect_twins(*dict, *ramet::clone(dict));
}

TEST(CloneTest, AModuleUnderTwoNamesStaysOneModule) {
  torch::nn::Sequential net;
  torch::nn::Linear shared(4, 4);
  net->push_back("a", shared);
  net->push_back("b", shared);
  torch::nn::Sequential clone = ramet::clone(net);
  EXPECT_EQ(clone[0], clone[1]);
  EXPECT_NE(clone[0], net[0]);
}

struct HeadImpl : torch::nn::Module {
  explicit HeadImpl(torch::Tensor tied) { weight = register_parameter("weight", std::move(tied)); }
  torch::Tensor weight;
  RAMET_MODULE(HeadImpl, weight)
};

struct TiedImpl : torch::nn::Module {
  TiedImpl() : embed(10, 4) {
    register_module("embed", embed);
    head = register_module("head", std::make_shared<HeadImpl>(embed->weight));
  }
  torch::nn::Embedding embed;
  std::shared_ptr<HeadImpl> head;
  RAMET_MODULE(TiedImpl, embed, head)
};
TORCH_MODULE(Tied);

TEST(CloneTest, TiedWeightsStayTied) {
  Tied net;
  ASSERT_TRUE(net->embed->weight.is_same(net->head->weight));
  Tied clone = ramet::clone(net);
  EXPECT_TRUE(clone->embed->weight.is_same(clone->head->weight));
  EXPECT_TRUE(clone->head->weight.is_same(clone->named_parameters(true)["head.weight"]));
  EXPECT_FALSE(clone->embed->weight.is_alias_of(net->embed->weight));
  const auto ties = ramet::catalog(*net);
  ASSERT_EQ(ties.size(), 1u);
  EXPECT_EQ(ties[0].kind, "tensor");
  EXPECT_EQ(ties[0].names, (std::vector<std::string>{"embed.weight", "head.weight"}));
  EXPECT_EQ(&ties["head.weight"], &ties[0]);
  EXPECT_EQ(ties.find("embed"), nullptr);
  EXPECT_THROW(ties["nowhere"], ramet::PlanError);
}

TEST(CloneTest, PretrainedEmbeddingsAndLossWeightsAreNotShared) {
  const auto weights = torch::rand({5, 3});
  auto embedding = torch::nn::Embedding::from_pretrained(weights);
  auto clone = ramet::clone(embedding);
  expect_twins(*embedding, *clone);
  EXPECT_TRUE(clone->weight.is_same(clone->options._weight()));
  torch::nn::CrossEntropyLoss loss(torch::nn::CrossEntropyLossOptions().weight(torch::rand({3})));
  auto loss_clone = ramet::clone(loss);
  EXPECT_FALSE(loss_clone->options.weight().is_alias_of(loss->options.weight()));
  EXPECT_TRUE(loss_clone->weight.is_same(loss_clone->options.weight()));
}

struct PlainImpl : torch::nn::Module {  // no Cloneable, no reset()
  PlainImpl() { w = register_parameter("w", torch::rand({3})); }
  torch::Tensor w;
  RAMET_MODULE(PlainImpl, w)
};

struct BlockImpl : torch::nn::Module {
  BlockImpl() { child = register_module("child", std::make_shared<PlainImpl>()); }
  std::shared_ptr<PlainImpl> child;
  RAMET_MODULE(BlockImpl, child)
};

TEST(CloneTest, APlainModuleChildIsCopiedNotReinitialised) {
  const auto block = std::make_shared<BlockImpl>();
  const auto clone = ramet::clone(block);
  expect_twins(*block, *clone);
  EXPECT_TRUE(clone->child->w.is_same(clone->named_parameters()["child.w"]));
}

TEST(CloneTest, RealLayersGiveEqualResults) {
  torch::nn::Transformer transformer(torch::nn::TransformerOptions(16, 2, 2, 2).dim_feedforward(32));
  transformer->eval();
  auto copy = ramet::clone(transformer);
  expect_twins(*transformer, *copy);
  const auto x = torch::rand({5, 2, 16}), y = torch::rand({3, 2, 16});
  EXPECT_TRUE(transformer->forward(x, y).equal(copy->forward(x, y)));
  torch::nn::LSTM lstm(torch::nn::LSTMOptions(4, 6).num_layers(2).bidirectional(true));
  auto lstm_copy = ramet::clone(lstm);
  expect_twins(*lstm, *lstm_copy);
  EXPECT_TRUE(std::get<0>(lstm->forward(torch::ones({3, 2, 4})))
                  .equal(std::get<0>(lstm_copy->forward(torch::ones({3, 2, 4})))));
  {
    torch::NoGradGuard no_grad;
    for (auto& parameter : lstm_copy->parameters()) parameter.zero_();
  }
  EXPECT_EQ(std::get<0>(lstm_copy->forward(torch::ones({3, 2, 4}))).abs().sum().item<float>(), 0);
}

TEST(CloneTest, ClonesAreDistinctFromEachOther) {
  torch::nn::TransformerEncoderLayer layer(torch::nn::TransformerEncoderLayerOptions(8, 2).dim_feedforward(16));
  const auto layers = ramet::clones(layer, 6);
  ASSERT_EQ(layers.size(), 6u);
  for (std::size_t i = 0; i < 6; ++i) {
    expect_twins(*layer, *layers[i]);
    for (std::size_t j = 0; j < i; ++j) expect_twins(*layers[i], *layers[j]);
  }
}

TEST(CloneTest, ASessionKeepsTiesBetweenItsMembers) {
  torch::nn::Linear encoder(3, 3), decoder(3, 3);
  decoder->weight = encoder->weight;
  auto [first, second] = ramet::clone(std::tuple(encoder, decoder));
  static_assert(std::is_same_v<decltype(first), torch::nn::Linear>);
  EXPECT_TRUE(first->weight.is_same(second->weight));
  EXPECT_FALSE(first->weight.is_alias_of(encoder->weight));
  const auto both = ramet::clone(std::vector{encoder, encoder});
  EXPECT_EQ(both[0].ptr(), both[1].ptr());
  const auto named = ramet::clone(std::map<std::string, torch::nn::Linear>{{"x", encoder}, {"y", nullptr}});
  EXPECT_TRUE(named.at("x")->weight.equal(encoder->weight));
  EXPECT_TRUE(named.at("y").is_empty());
}

TEST(CloneTest, AConstReferenceIsASourceToo) {
  const NetImpl net;
  const std::shared_ptr<NetImpl> clone = ramet::clone(net);
  EXPECT_TRUE(clone->l1->weight.equal(net.l1->weight));
  EXPECT_FALSE(clone->l1->weight.is_alias_of(net.l1->weight));
}

TEST(CloneTest, AnUnlistedClassIsAnErrorWithTheLineToAdd) {
  struct ForgottenImpl : torch::nn::Module {};
  torch::nn::Sequential net{torch::nn::Linear(1, 1)};
  net->register_module("odd", std::make_shared<ForgottenImpl>());
  try {
    ramet::clone(net);
    FAIL();
  } catch (const ramet::UncloneableError& error) {
    EXPECT_THAT(error.what_without_backtrace(), HasSubstr("'odd'"));
    EXPECT_THAT(error.what_without_backtrace(), HasSubstr("RAMET_MODULE(ForgottenImpl, "));
    EXPECT_THAT(error.what_without_backtrace(), HasSubstr("keep='odd'"));
  }
  EXPECT_TRUE(ramet::catalog(net).empty());
}

TEST(CloneTest, AnEmptyHolderIsAnError) {
  EXPECT_THROW(ramet::clone(torch::nn::Linear(nullptr)), ramet::PlanError);
  EXPECT_THROW(ramet::clone(std::shared_ptr<NetImpl>()), ramet::PlanError);
  EXPECT_THROW(ramet::clone(std::vector<torch::nn::Linear>()), ramet::PlanError);
}

TEST(CloneTest, DeepNestingNeedsNoStack) {
  torch::nn::ModuleList net;
  for (int i = 0; i < 3000; ++i) {
    torch::nn::ModuleList outer;
    outer->push_back(net.ptr());
    net = outer;
  }
  EXPECT_EQ(ramet::clone(net)->modules(false).size(), 3000u);
}

}  // namespace
