/// Activations, losses, pooling, padding and containers.
#include "nn_torch_cases.h"

namespace ramet {

using namespace torch::nn;
using torch::rand;
using torch::tensor;

std::vector<TorchCase> torch_activations() {
  const auto x = torch::randn({2, 4, 4, 4});
  return {
      runs(CELU(), x),
      runs(ELU(), x),
      runs(GELU(), x),
      runs(GLU(), x),
      runs(Hardshrink(), x),
      runs(Hardtanh(), x),
      runs(LeakyReLU(), x),
      runs(LogSigmoid(), x),
      runs(LogSoftmax(1), x),
      runs(Mish(), x),
      runs(PReLU(), x),
      variant("OfEachChannel", runs(PReLU(PReLUOptions().num_parameters(4)), x)),
      runs(RReLU(), x),
      runs(ReLU(), x),
      runs(ReLU6(), x),
      runs(SELU(), x),
      runs(SiLU(), x),
      runs(Sigmoid(), x),
      runs(Softmax(1), x),
      runs(Softmax2d(), x),
      runs(Softmin(1), x),
      runs(Softplus(), x),
      runs(Softshrink(), x),
      runs(Softsign(), x),
      runs(Tanh(), x),
      runs(Tanhshrink(), x),
      runs(Threshold(0.1, 2.0), x),
      runs(AlphaDropout(), x),
      runs(Dropout(), x),
      runs(Dropout2d(), x),
      runs(Dropout3d(), x),
      runs(FeatureAlphaDropout(), x),
  };
}

std::vector<TorchCase> torch_losses() {
  const auto x = rand({2, 3}), y = rand({2, 3}), z = rand({2, 3}), weight = rand({3});
  const auto classes = tensor({0, 2}), sides = tensor({1, -1});
  const auto steps = torch::full({2}, 5, torch::kLong), lengths = torch::full({2}, 2, torch::kLong);
  return {
      runs(BCELoss(), x, y),
      variant("Weighted", runs(BCELoss(BCELossOptions().weight(weight.clone())), x, y)),
      runs(BCEWithLogitsLoss(), x, y),
      variant(
          "Weighted",
          runs(BCEWithLogitsLoss(BCEWithLogitsLossOptions().weight(weight.clone()).pos_weight(weight.clone())), x, y)),
      runs(CTCLoss(), torch::log_softmax(rand({5, 2, 4}), 2), tensor({{1, 2}, {3, 1}}), steps, lengths),
      runs(CosineEmbeddingLoss(), x, y, sides),
      runs(CosineSimilarity(), x, y),
      runs(CrossEntropyLoss(), x, classes),
      variant("Weighted", runs(CrossEntropyLoss(CrossEntropyLossOptions().weight(weight.clone())), x, classes)),
      runs(HingeEmbeddingLoss(), rand({2}), sides),
      runs(HuberLoss(), x, y),
      runs(KLDivLoss(KLDivLossOptions(torch::kSum)), x.log(), y),
      runs(L1Loss(), x, y),
      runs(MSELoss(), x, y),
      runs(MarginRankingLoss(), rand({2}), rand({2}), sides),
      runs(MultiLabelMarginLoss(), x, tensor({{0, -1, 1}, {2, 1, -1}})),
      runs(MultiLabelSoftMarginLoss(), x, y),
      variant("Weighted",
              runs(MultiLabelSoftMarginLoss(MultiLabelSoftMarginLossOptions().weight(weight.clone())), x, y)),
      runs(MultiMarginLoss(), x, classes),
      variant("Weighted", runs(MultiMarginLoss(MultiMarginLossOptions().weight(weight.clone())), x, classes)),
      runs(NLLLoss(), x, classes),
      variant("Weighted", runs(NLLLoss(NLLLossOptions().weight(weight.clone())), x, classes)),
      runs(PairwiseDistance(), x, y),
      runs(PoissonNLLLoss(), x, y),
      runs(SmoothL1Loss(), x, y),
      runs(SoftMarginLoss(), rand({2}), sides),
      runs(TripletMarginLoss(), x, y, z),
      runs(TripletMarginWithDistanceLoss(), x, y, z),
  };
}

std::vector<TorchCase> torch_pools() {
  const auto x = rand({1, 4, 8}), xx = rand({1, 4, 8, 8}), xxx = rand({1, 4, 8, 8, 8});
  const auto i = torch::arange(8).reshape({1, 1, 8}).expand({1, 4, 8}).contiguous();
  const auto ii = torch::arange(64).reshape({1, 1, 8, 8}).expand({1, 4, 8, 8}).contiguous();
  const auto iii = torch::arange(512).reshape({1, 1, 8, 8, 8}).expand({1, 4, 8, 8, 8}).contiguous();
  const auto pool2d = FractionalMaxPool2dOptions(2).output_size(2);
  const auto pool3d = FractionalMaxPool3dOptions(2).output_size(2);
  return {
      runs(AdaptiveAvgPool1d(2), x),
      runs(AdaptiveAvgPool2d(2), xx),
      runs(AdaptiveAvgPool3d(2), xxx),
      runs(AdaptiveMaxPool1d(2), x),
      runs(AdaptiveMaxPool2d(2), xx),
      runs(AdaptiveMaxPool3d(2), xxx),
      runs(AvgPool1d(2), x),
      runs(AvgPool2d(2), xx),
      runs(AvgPool3d(2), xxx),
      runs(FractionalMaxPool2d(pool2d), xx),
      variant("OfSamples",
              runs(FractionalMaxPool2d(FractionalMaxPool2dOptions(pool2d)._random_samples(rand({1, 4, 2}))), xx)),
      runs(FractionalMaxPool3d(pool3d), xxx),
      variant("OfSamples",
              runs(FractionalMaxPool3d(FractionalMaxPool3dOptions(pool3d)._random_samples(rand({1, 4, 3}))), xxx)),
      runs(LPPool1d(2, 3), x),
      runs(LPPool2d(2, 3), xx),
      runs(LPPool3d(LPPool3dOptions(2, 3)), xxx),
      runs(MaxPool1d(2), x),
      runs(MaxPool2d(2), xx),
      runs(MaxPool3d(2), xxx),
      runs(MaxUnpool1d(2), x, i),
      runs(MaxUnpool2d(2), xx, ii),
      runs(MaxUnpool3d(2), xxx, iii),
      runs(ConstantPad1d(1, 0.5), x),
      runs(ConstantPad2d(1, 0.5), xx),
      runs(ConstantPad3d(1, 0.5), xxx),
      runs(ReflectionPad1d(1), x),
      runs(ReflectionPad2d(1), xx),
      runs(ReflectionPad3d(1), xxx),
      runs(ReplicationPad1d(1), x),
      runs(ReplicationPad2d(1), xx),
      runs(ReplicationPad3d(1), xxx),
      runs(ZeroPad1d(1), x),
      runs(ZeroPad2d(1), xx),
      runs(ZeroPad3d(1), xxx),
  };
}

std::vector<TorchCase> torch_containers() {
  ParameterDict parameters;
  parameters->insert("a", rand({2, 3}));
  ModuleDict modules;
  modules->update({{"linear", Linear(2, 3).ptr()}, {"list", ModuleList(Linear(1, 1)).ptr()}});
  return {
      runs(Functional(torch::relu), torch::randn({2, 3})),
      variant("OfAClosure", runs(Functional([](const torch::Tensor& x) { return x + 1; }), rand({2, 3}))),
      still(modules),
      still(ModuleList(Linear(2, 3), BatchNorm1d(3))),
      still(parameters),
      still(ParameterList(rand({2, 3}), rand({3}))),
      runs(Sequential(Conv2d(3, 4, 3), BatchNorm2d(4), Functional(torch::relu), Dropout(), MaxPool2d(2),
                      AdaptiveAvgPool2d(1), Flatten(), Linear(4, 2)),
           rand({2, 3, 9, 9})),
      variant("Named", runs(Sequential({{"first", Linear(3, 4)}, {"last", Linear(4, 2)}}), rand({2, 3}))),
  };
}

}  // namespace ramet
