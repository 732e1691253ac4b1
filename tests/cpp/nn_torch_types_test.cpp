/// Every module type of LibTorch: its clone holds nothing of the source's, and computes the same. The types are those
/// of the installed headers.
#include <ramet/registry.h>

#include <set>

#include "nn_torch_cases.h"
#include "twins.h"

namespace ramet {

void PrintTo(const TorchCase& it, std::ostream* out) { *out << it.type << it.variant; }

namespace {

using namespace torch::nn;
using testing::TestParamInfo;
using testing::ValuesIn;

std::vector<TorchCase> all_cases() {
  std::vector<TorchCase> result;
  for (const auto& family : {torch_activations(), torch_containers(), torch_layers(), torch_losses(), torch_pools()}) {
    result.insert(result.end(), family.begin(), family.end());
  }
  return result;
}

std::vector<torch::Tensor> run(const TorchCase& it, Module& module) {
  torch::manual_seed(7);
  return it.forward(module);
}

void expect_cloned_whole(const TorchCase& it) {
  const torch::Tensor before = at::detail::getDefaultCPUGenerator().get_state();
  const auto clone = expect_forgets_nothing(it.module);
  EXPECT_TRUE(before.equal(at::detail::getDefaultCPUGenerator().get_state()));
  EXPECT_EQ(typeid(*clone), typeid(*it.module));
  EXPECT_EQ(clone->name(), it.module->name());
  if (!it.forward) return;
  // With the same seed: dropout and the like are random.
  const auto expected = run(it, *it.module), found = run(it, *clone);
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_TRUE(found[i].equal(expected[i])) << expected[i] << found[i];
  expect_twins(*it.module, *clone);
}

// Leaves the values as they are.
torch::Tensor with_gaps(const torch::Tensor& tensor) {
  if (tensor.dim() > 1) return tensor.transpose(0, 1).contiguous().transpose(0, 1);
  return tensor.dim() == 1 ? torch::stack({tensor, tensor}, 1).select(1, 0) : tensor;
}

class EveryTypeTest : public testing::TestWithParam<TorchCase> {};

TEST_P(EveryTypeTest, IsClonedWhole) {
  Module& module = *GetParam().module;
  for (const bool training : {true, false}) {
    SCOPED_TRACE(training ? "in training" : "in evaluation");
    module.train(training);
    expect_cloned_whole(GetParam());
  }
}

TEST_P(EveryTypeTest, IsClonedWithItsFlagsAndStrides) {
  Module& module = *GetParam().module;
  std::vector<torch::Tensor> tensors = module.buffers();
  for (const torch::Tensor& parameter : module.parameters()) tensors.push_back(parameter);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    tensors[i].set_data(with_gaps(tensors[i].detach()));
    if (tensors[i].requires_grad()) tensors[i].set_requires_grad(i % 2 == 0);
  }
  expect_cloned_whole(GetParam());
}

INSTANTIATE_TEST_SUITE_P(TorchTypes, EveryTypeTest, ValuesIn(all_cases()),
                         [](const TestParamInfo<TorchCase>& it) { return it.param.type + it.param.variant; });

// By name, from the headers; see CMakeLists.txt.
const std::map<std::string, const std::type_info*>& installed_types() {
  static const std::map<std::string, const std::type_info*> types{
#define RAMET_TORCH_TYPE(Name) {#Name, &typeid(torch::nn::Name)},
#include "torch_types.inc"
#undef RAMET_TORCH_TYPE
  };
  return types;
}

TEST(TorchTypesTest, EveryInstalledTypeIsKnown) {
  EXPECT_GE(installed_types().size(), 132u);
  for (const auto& [name, type] : installed_types()) {
    EXPECT_NE(detail::find_type(*type), nullptr) << name << " of the installed LibTorch has no member list in src/nn";
  }
}

TEST(TorchTypesTest, EveryInstalledTypeIsTested) {
  std::set<std::string> untested;
  for (const auto& [name, type] : installed_types()) untested.insert(name);
  for (const TorchCase& it : all_cases()) {
    EXPECT_EQ(installed_types().count(it.type + "Impl"), 1u) << it.type << " is not in the installed headers";
    untested.erase(it.type + "Impl");
  }
  EXPECT_EQ(untested, std::set<std::string>()) << "no case has a module of these types";
}

// Expects a clone's tensor outside of the dictionaries to be its own, and the registered one where the source's is.
template <class Holder, class Get>
void expect_follows(const Holder& source, const Get& get) {
  const Holder clone = ramet::clone(source);
  const torch::Tensor &a = get(*source), &b = get(*clone);
  EXPECT_TRUE(a.equal(b)) << source->name();
  EXPECT_FALSE(a.is_alias_of(b)) << source->name();
  const auto count = [&](const auto& tensors, const torch::Tensor& tensor) {
    return std::count_if(tensors.begin(), tensors.end(), [&](const auto& it) { return it.is_same(tensor); });
  };
  EXPECT_EQ(count(clone->parameters(), b) + count(clone->buffers(), b), 1) << source->name();
  torch::NoGradGuard no_grad;
  const torch::Tensor before = a.clone();
  b.fill_(7);
  EXPECT_TRUE(a.equal(before)) << source->name();
}

TEST(TorchTypesTest, TensorsInOptionsFollowTheRegisteredOnes) {
  const auto weight = [](auto& module) -> auto& { return module.options.weight(); };
  const auto table = [](auto& module) -> auto& { return module.options._weight(); };
  const auto samples = [](auto& module) -> auto& { return module.options._random_samples(); };
  const auto three = [] { return torch::rand({3}); };
  expect_follows(BCELoss(BCELossOptions().weight(three())), weight);
  expect_follows(CrossEntropyLoss(CrossEntropyLossOptions().weight(three())), weight);
  expect_follows(NLLLoss(NLLLossOptions().weight(three())), weight);
  expect_follows(MultiMarginLoss(MultiMarginLossOptions().weight(three())), weight);
  expect_follows(MultiLabelSoftMarginLoss(MultiLabelSoftMarginLossOptions().weight(three())), weight);
  const BCEWithLogitsLoss logits(BCEWithLogitsLossOptions().weight(three()).pos_weight(three()));
  expect_follows(logits, weight);
  expect_follows(
      logits, [](auto& module) -> auto& { return module.options.pos_weight(); });
  expect_follows(Embedding::from_pretrained(torch::rand({5, 3})), table);
  expect_follows(EmbeddingBag::from_pretrained(torch::rand({5, 3})), table);
  const auto samples2d = torch::rand({1, 2, 2}), samples3d = torch::rand({1, 2, 3});
  expect_follows(FractionalMaxPool2d(FractionalMaxPool2dOptions(2).output_size(2)._random_samples(samples2d)), samples);
  expect_follows(FractionalMaxPool3d(FractionalMaxPool3dOptions(2).output_size(2)._random_samples(samples3d)), samples);
}

TEST(TorchTypesTest, RecurrentLayersComputeWithTheirOwnWeights) {
  const auto x = torch::rand({3, 2, 4});
  const auto expect_apart = [&](auto net) {
    auto clone = ramet::clone(net);
    torch::NoGradGuard no_grad;
    for (auto& parameter : clone->parameters()) parameter.zero_();
    EXPECT_NE(std::get<0>(net->forward(x)).abs().sum().template item<float>(), 0) << net->name();
    EXPECT_EQ(std::get<0>(clone->forward(x)).abs().sum().template item<float>(), 0) << net->name();
  };
  expect_apart(RNN(RNNOptions(4, 5).num_layers(2)));
  expect_apart(LSTM(LSTMOptions(4, 5).num_layers(2).bidirectional(true)));
  expect_apart(GRU(GRUOptions(4, 5).bias(false)));
}

TEST(TorchTypesTest, APrototypeInOptionsIsTheClonesOwn) {
  const auto encoder_layer = TransformerEncoderLayerOptions(8, 2).dim_feedforward(8);
  const auto decoder_layer = TransformerDecoderLayerOptions(8, 2).dim_feedforward(8);
  const TransformerEncoder encoder(TransformerEncoderOptions(TransformerEncoderLayer(encoder_layer), 2));
  const TransformerDecoder decoder(TransformerDecoderOptions(TransformerDecoderLayer(decoder_layer), 2));
  const Transformer net(
      TransformerOptions(8, 2, 1, 1).custom_encoder(AnyModule(encoder)).custom_decoder(AnyModule(decoder)));
  const Transformer clone = ramet::clone(net);
  expect_twins(*net->options.custom_encoder().ptr(), *clone->options.custom_encoder().ptr());
  expect_twins(*net->options.custom_decoder().ptr(), *clone->options.custom_decoder().ptr());
  expect_twins(*encoder->options.encoder_layer(), *ramet::clone(encoder)->options.encoder_layer());
  expect_twins(*decoder->options.decoder_layer(), *ramet::clone(decoder)->options.decoder_layer());
}

TEST(TorchTypesTest, WhatAFunctionalCapturesStaysTheSources) {
  auto captured = torch::ones({2});
  Functional net([captured](const torch::Tensor& x) { return x * captured; });
  const Functional clone = ramet::clone(net);
  captured.fill_(3);
  EXPECT_EQ(Functional(clone)->forward(torch::ones({2})).sum().item<float>(), 6);
}

}  // namespace
}  // namespace ramet
