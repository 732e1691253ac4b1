/// Every module type of LibTorch: its clone holds nothing of the source's, and computes the same.
#include "twins.h"

namespace {

using namespace torch::nn;
using Modules = std::vector<std::shared_ptr<Module>>;

template <class... Holders>
Modules made() {
  return {Holders().ptr()...};
}

// Expects the exact type, every tensor apart, and that the random state has not advanced.
void expect_cloned(const Modules& modules) {
  for (const auto& module : modules) {
    module->eval();
    const torch::Tensor before = at::detail::getDefaultCPUGenerator().get_state();
    const auto clone = ramet::expect_forgets_nothing(module);
    EXPECT_TRUE(before.equal(at::detail::getDefaultCPUGenerator().get_state())) << module->name();
    EXPECT_EQ(typeid(*clone), typeid(*module));
    EXPECT_FALSE(clone->is_training());
  }
}

template <class Net, class... Inputs>
void expect_same_output(Net net, const Inputs&... inputs) {
  net->eval();
  EXPECT_TRUE(net->forward(inputs...).equal(ramet::expect_forgets_nothing(net)->forward(inputs...))) << net->name();
}

TEST(TorchTypesTest, Activations) {
  expect_cloned(made<CELU, ELU, GELU, GLU, Hardshrink, Hardtanh, LeakyReLU, LogSigmoid, Mish, PReLU, RReLU, ReLU, ReLU6,
                     SELU, SiLU, Sigmoid, Softmax2d, Softplus, Softshrink, Softsign, Tanh, Tanhshrink>());
  expect_cloned({Softmax(1).ptr(), Softmin(1).ptr(), LogSoftmax(1).ptr(), Threshold(0.1, 2.0).ptr()});
  expect_same_output(PReLU(PReLUOptions().num_parameters(3)), torch::randn({2, 3}));
}

TEST(TorchTypesTest, Dropouts) {
  expect_cloned(made<AlphaDropout, Dropout, Dropout2d, Dropout3d, FeatureAlphaDropout>());
}

TEST(TorchTypesTest, Losses) {
  expect_cloned(made<BCELoss, BCEWithLogitsLoss, CTCLoss, CosineEmbeddingLoss, CrossEntropyLoss, HingeEmbeddingLoss,
                     HuberLoss, KLDivLoss, L1Loss, MSELoss, MarginRankingLoss, MultiLabelMarginLoss,
                     MultiLabelSoftMarginLoss, MultiMarginLoss, NLLLoss, PoissonNLLLoss, SmoothL1Loss, SoftMarginLoss,
                     TripletMarginLoss, TripletMarginWithDistanceLoss, CosineSimilarity, PairwiseDistance>());
  const auto weight = [] { return torch::rand({3}); };
  const auto x = torch::rand({2, 3});
  const auto y = torch::tensor({0, 2});
  expect_same_output(CrossEntropyLoss(CrossEntropyLossOptions().weight(weight())), x, y);
  expect_same_output(NLLLoss(NLLLossOptions().weight(weight())), x, y);
  expect_same_output(MultiMarginLoss(MultiMarginLossOptions().weight(weight())), x, y);
  expect_same_output(MultiLabelSoftMarginLoss(MultiLabelSoftMarginLossOptions().weight(weight())), x, x);
  expect_same_output(BCELoss(BCELossOptions().weight(weight())), x, x);
  expect_same_output(BCEWithLogitsLoss(BCEWithLogitsLossOptions().weight(weight()).pos_weight(weight())), x, x);
}

TEST(TorchTypesTest, Layers) {
  expect_same_output(Linear(3, 4), torch::rand({2, 3}));
  expect_same_output(Linear(LinearOptions(3, 4).bias(false)), torch::rand({2, 3}));
  expect_same_output(Bilinear(2, 3, 4), torch::rand({5, 2}), torch::rand({5, 3}));
  expect_same_output(Embedding(5, 3), torch::tensor({0, 4}));
  expect_same_output(Embedding::from_pretrained(torch::rand({5, 3})), torch::tensor({0, 4}));
  expect_same_output(EmbeddingBag(5, 3), torch::tensor({0, 4}), torch::tensor({0, 1}));
  expect_same_output(EmbeddingBag::from_pretrained(torch::rand({5, 3})), torch::tensor({0, 4}), torch::tensor({0, 1}));
  expect_same_output(LayerNorm(LayerNormOptions({4})), torch::rand({2, 4}));
  expect_same_output(GroupNorm(GroupNormOptions(2, 4)), torch::rand({2, 4}));
  expect_cloned({CrossMapLRN2d(3).ptr(), LocalResponseNorm(2).ptr(), Identity().ptr(), Flatten().ptr(),
                 Unflatten(1, std::vector<int64_t>{2, 2}).ptr(), PixelShuffle(2).ptr(), PixelUnshuffle(2).ptr(),
                 Upsample().ptr(), Fold(FoldOptions({4, 4}, {2, 2})).ptr(), Unfold(UnfoldOptions({2, 2})).ptr(),
                 Functional(torch::relu).ptr()});
  AdaptiveLogSoftmaxWithLoss adaptive(AdaptiveLogSoftmaxWithLossOptions(32, 20, {5, 10}));
  auto adaptive_clone = ramet::expect_forgets_nothing(adaptive);
  const auto x = torch::rand({3, 32});
  EXPECT_TRUE(adaptive->log_prob(x).equal(adaptive_clone->log_prob(x)));
}

TEST(TorchTypesTest, ConvolutionsAndBatchNorms) {
  expect_same_output(Conv1d(2, 4, 3), torch::rand({1, 2, 8}));
  expect_same_output(Conv2d(2, 4, 3), torch::rand({1, 2, 8, 8}));
  expect_same_output(Conv3d(2, 4, 3), torch::rand({1, 2, 4, 4, 4}));
  expect_same_output(ConvTranspose1d(2, 4, 3), torch::rand({1, 2, 8}));
  expect_same_output(ConvTranspose2d(2, 4, 3), torch::rand({1, 2, 8, 8}));
  expect_same_output(ConvTranspose3d(2, 4, 3), torch::rand({1, 2, 4, 4, 4}));
  expect_same_output(BatchNorm1d(4), torch::rand({3, 4}));
  expect_same_output(BatchNorm2d(4), torch::rand({3, 4, 2, 2}));
  expect_same_output(BatchNorm3d(4), torch::rand({3, 4, 2, 2, 2}));
  const auto options = InstanceNormOptions(4).affine(true).track_running_stats(true);
  expect_same_output(InstanceNorm1d(options), torch::rand({3, 4, 5}));
  expect_same_output(InstanceNorm2d(options), torch::rand({3, 4, 2, 2}));
  expect_same_output(InstanceNorm3d(options), torch::rand({3, 4, 2, 2, 2}));
}

TEST(TorchTypesTest, PoolingAndPadding) {
  expect_cloned({AdaptiveAvgPool1d(2).ptr(), AdaptiveAvgPool2d(2).ptr(), AdaptiveAvgPool3d(2).ptr(),
                 AdaptiveMaxPool1d(2).ptr(), AdaptiveMaxPool2d(2).ptr(), AdaptiveMaxPool3d(2).ptr(), AvgPool1d(2).ptr(),
                 AvgPool2d(2).ptr(), AvgPool3d(2).ptr(), LPPool1d(2, 3).ptr(), LPPool2d(2, 3).ptr(),
                 LPPool3d(LPPool3dOptions(2, 3)).ptr(), MaxPool1d(2).ptr(), MaxPool2d(2).ptr(), MaxPool3d(2).ptr(),
                 MaxUnpool1d(2).ptr(), MaxUnpool2d(2).ptr(), MaxUnpool3d(2).ptr()});
  expect_cloned({ConstantPad1d(1, 0.5).ptr(), ConstantPad2d(1, 0.5).ptr(), ConstantPad3d(1, 0.5).ptr(),
                 ReflectionPad1d(1).ptr(), ReflectionPad2d(1).ptr(), ReflectionPad3d(1).ptr(),
                 ReplicationPad1d(1).ptr(), ReplicationPad2d(1).ptr(), ReplicationPad3d(1).ptr(), ZeroPad1d(1).ptr(),
                 ZeroPad2d(1).ptr(), ZeroPad3d(1).ptr()});
  const auto samples2d = torch::rand({1, 2, 2}), samples3d = torch::rand({1, 2, 3});
  FractionalMaxPool2d pool2d(FractionalMaxPool2dOptions(2).output_size(2)._random_samples(samples2d));
  FractionalMaxPool3d pool3d(FractionalMaxPool3dOptions(2).output_size(2)._random_samples(samples3d));
  expect_same_output(pool2d, torch::rand({1, 2, 4, 4}));
  expect_same_output(pool3d, torch::rand({1, 2, 4, 4, 4}));
  const auto clone = ramet::clone(pool2d);
  EXPECT_FALSE(clone->_random_samples.is_alias_of(samples2d));
  EXPECT_TRUE(clone->_random_samples.is_same(clone->options._random_samples()));
}

TEST(TorchTypesTest, RecurrentLayersComputeWithTheirOwnWeights) {
  const auto x = torch::rand({3, 2, 4});
  const auto expect_same_sequence = [&](auto net) {
    auto clone = ramet::expect_forgets_nothing(net);
    EXPECT_TRUE(std::get<0>(net->forward(x)).equal(std::get<0>(clone->forward(x)))) << net->name();
    torch::NoGradGuard no_grad;
    for (auto& parameter : clone->parameters()) parameter.zero_();
    EXPECT_NE(std::get<0>(net->forward(x)).abs().sum().template item<float>(), 0) << net->name();
    EXPECT_EQ(std::get<0>(clone->forward(x)).abs().sum().template item<float>(), 0) << net->name();
  };
  expect_same_sequence(RNN(RNNOptions(4, 5).num_layers(2)));
  expect_same_sequence(LSTM(LSTMOptions(4, 5).num_layers(2).bidirectional(true)));
  expect_same_sequence(GRU(GRUOptions(4, 5).bias(false)));
  expect_same_output(RNNCell(4, 5), x[0]);
  expect_same_output(GRUCell(4, 5), x[0]);
  LSTMCell cell(4, 5);
  auto clone = ramet::expect_forgets_nothing(cell);
  EXPECT_TRUE(std::get<0>(cell->forward(x[0])).equal(std::get<0>(clone->forward(x[0]))));
}

TEST(TorchTypesTest, AttentionAndTransformers) {
  const auto x = torch::rand({3, 2, 8});
  for (const auto& options :
       {MultiheadAttentionOptions(8, 2).add_bias_kv(true), MultiheadAttentionOptions(8, 2).kdim(8),
        MultiheadAttentionOptions(8, 2).kdim(6).vdim(6)}) {
    MultiheadAttention net(options);
    auto clone = ramet::expect_forgets_nothing(net);
    const auto key = torch::rand({3, 2, net->options.kdim()}), value = torch::rand({3, 2, net->options.vdim()});
    EXPECT_TRUE(std::get<0>(net->forward(x, key, value)).equal(std::get<0>(clone->forward(x, key, value))));
  }
  const auto encoder = TransformerEncoderLayerOptions(8, 2).dim_feedforward(8);
  const auto decoder = TransformerDecoderLayerOptions(8, 2).dim_feedforward(8);
  expect_same_output(TransformerEncoderLayer(encoder), x);
  expect_same_output(TransformerDecoderLayer(decoder), x, x);
  const AnyModule norm{LayerNorm(LayerNormOptions({8}))};
  expect_same_output(TransformerEncoder(TransformerEncoderOptions(TransformerEncoderLayer(encoder), 2).norm(norm)), x);
  expect_same_output(TransformerDecoder(TransformerDecoderOptions(TransformerDecoderLayer(decoder), 2).norm(norm)), x,
                     x);
  expect_same_output(Transformer(TransformerOptions(8, 2, 1, 1).dim_feedforward(8)), x, x);
}

TEST(TorchTypesTest, APrototypeInOptionsIsTheClonesOwn) {
  const auto layer = TransformerEncoderLayerOptions(8, 2).dim_feedforward(8);
  AnyModule encoder{TransformerEncoder(TransformerEncoderOptions(TransformerEncoderLayer(layer), 1))};
  Transformer net(TransformerOptions(8, 2, 1, 1).dim_feedforward(8).custom_encoder(encoder));
  const auto x = torch::rand({3, 2, 8});
  expect_same_output(net, x, x);
  const auto clone = ramet::clone(net);
  EXPECT_NE(clone->options.custom_encoder().ptr(), net->options.custom_encoder().ptr());
  ramet::expect_twins(*net->options.custom_encoder().ptr(), *clone->options.custom_encoder().ptr());
  TransformerEncoder stack(TransformerEncoderOptions(TransformerEncoderLayer(layer), 2));
  const auto stack_clone = ramet::clone(stack);
  ramet::expect_twins(*stack->options.encoder_layer(), *stack_clone->options.encoder_layer());
}

TEST(TorchTypesTest, Containers) {
  ParameterDict parameters;
  parameters->insert("a", torch::rand({2}));
  ModuleDict modules;
  modules->update({{"linear", Linear(2, 3).ptr()}, {"list", ModuleList(Linear(1, 1)).ptr()}});
  expect_cloned({ParameterList(torch::rand({2}), torch::rand({3})).ptr(), parameters.ptr(), modules.ptr(),
                 ModuleList(Linear(2, 3), BatchNorm1d(3)).ptr(), Sequential(Linear(2, 3), ReLU()).ptr()});
  expect_same_output(Sequential(Conv2d(3, 4, 3), BatchNorm2d(4), Functional(torch::relu), MaxPool2d(2),
                                AdaptiveAvgPool2d(1), Flatten(), Linear(4, 2)),
                     torch::rand({2, 3, 9, 9}));
}

}  // namespace
