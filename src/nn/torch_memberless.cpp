/// Modules without a member that refers to anything.
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/distance.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/fold.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/loss.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/modules/padding.h>
#include <torch/nn/modules/pixelshuffle.h>
#include <torch/nn/modules/pooling.h>
#include <torch/nn/modules/upsampling.h>

#include "nn/torch_types.h"

namespace {

template <class... Ts>
struct Types {
  template <class T>
  static constexpr bool contains = (std::is_same_v<T, Ts> || ...);
  static void enroll() { ramet::nn::enroll_all<Ts...>(); }
};

using namespace torch::nn;
using Memberless =
    Types<AdaptiveAvgPool1dImpl, AdaptiveAvgPool2dImpl, AdaptiveAvgPool3dImpl, AdaptiveMaxPool1dImpl,
          AdaptiveMaxPool2dImpl, AdaptiveMaxPool3dImpl, AlphaDropoutImpl, AvgPool1dImpl, AvgPool2dImpl, AvgPool3dImpl,
          CELUImpl, CTCLossImpl, ConstantPad1dImpl, ConstantPad2dImpl, ConstantPad3dImpl, CosineEmbeddingLossImpl,
          CosineSimilarityImpl, CrossMapLRN2dImpl, Dropout2dImpl, Dropout3dImpl, DropoutImpl, ELUImpl,
          FeatureAlphaDropoutImpl, FlattenImpl, FoldImpl, GELUImpl, GLUImpl, HardshrinkImpl, HardtanhImpl,
          HingeEmbeddingLossImpl, HuberLossImpl, IdentityImpl, KLDivLossImpl, L1LossImpl, LPPool1dImpl, LPPool2dImpl,
          LPPool3dImpl, LeakyReLUImpl, LocalResponseNormImpl, LogSigmoidImpl, LogSoftmaxImpl, MSELossImpl,
          MarginRankingLossImpl, MaxPool1dImpl, MaxPool2dImpl, MaxPool3dImpl, MaxUnpool1dImpl, MaxUnpool2dImpl,
          MaxUnpool3dImpl, MishImpl, MultiLabelMarginLossImpl, PairwiseDistanceImpl, PixelShuffleImpl,
          PixelUnshuffleImpl, PoissonNLLLossImpl, RReLUImpl, ReLU6Impl, ReLUImpl, ReflectionPad1dImpl,
          ReflectionPad2dImpl, ReflectionPad3dImpl, ReplicationPad1dImpl, ReplicationPad2dImpl, ReplicationPad3dImpl,
          SELUImpl, SiLUImpl, SigmoidImpl, SmoothL1LossImpl, SoftMarginLossImpl, Softmax2dImpl, SoftmaxImpl,
          SoftminImpl, SoftplusImpl, SoftshrinkImpl, SoftsignImpl, TanhImpl, TanhshrinkImpl, ThresholdImpl,
          TripletMarginLossImpl, TripletMarginWithDistanceLossImpl, UnflattenImpl, UnfoldImpl, UpsampleImpl,
          ZeroPad1dImpl, ZeroPad2dImpl, ZeroPad3dImpl>;

}  // namespace

template <class T>
requires(Memberless::contains<T>) struct ramet::describe<T> : ramet::fields<T> {
};

void ramet::nn::enroll_memberless() { Memberless::enroll(); }
