/// Types with tensors of their own.
#include "nn_torch_cases.h"

namespace ramet {
namespace {

using namespace torch::nn;
using torch::rand;
using torch::tensor;

std::vector<TorchCase> transformers() {
  const auto x = rand({3, 2, 8});
  const auto encoder = TransformerEncoderLayerOptions(8, 2).dim_feedforward(8);
  const auto decoder = TransformerDecoderLayerOptions(8, 2).dim_feedforward(8);
  const auto transformer = TransformerOptions(8, 2, 1, 1).dim_feedforward(8);
  const TransformerEncoderOptions encoders(TransformerEncoderLayer(encoder), 2);
  const TransformerDecoderOptions decoders(TransformerDecoderLayer(decoder), 2);
  const AnyModule norm{LayerNorm(LayerNormOptions({8}))};
  const AnyModule custom_encoder{TransformerEncoder(encoders)}, custom_decoder{TransformerDecoder(decoders)};
  const MultiheadAttentionOptions attention(8, 2);
  return {
      runs(MultiheadAttention(attention), x, x, x),
      variant("WithBiases", runs(MultiheadAttention(MultiheadAttentionOptions(attention).add_bias_kv(true)), x, x, x)),
      variant("OfOtherSizes", runs(MultiheadAttention(MultiheadAttentionOptions(attention).kdim(6).vdim(6)), x,
                                   rand({3, 2, 6}), rand({3, 2, 6}))),
      runs(TransformerEncoderLayer(encoder), x),
      runs(TransformerDecoderLayer(decoder), x, x),
      runs(TransformerEncoder(encoders), x),
      variant("WithNorm", runs(TransformerEncoder(TransformerEncoderOptions(encoders).norm(norm)), x)),
      runs(TransformerDecoder(decoders), x, x),
      variant("WithNorm", runs(TransformerDecoder(TransformerDecoderOptions(decoders).norm(norm)), x, x)),
      runs(Transformer(transformer), x, x),
      variant("OfCustomCoders",
              runs(Transformer(
                       TransformerOptions(transformer).custom_encoder(custom_encoder).custom_decoder(custom_decoder)),
                   x, x)),
  };
}

std::vector<TorchCase> recurrent() {
  const auto x = rand({3, 2, 4});
  return {
      runs(RNN(RNNOptions(4, 5).num_layers(2)), x),
      runs(LSTM(LSTMOptions(4, 5).num_layers(2).bidirectional(true)), x),
      variant("Projected", runs(LSTM(LSTMOptions(4, 5).proj_size(3)), x)),
      runs(GRU(GRUOptions(4, 5)), x),
      variant("WithoutBias", runs(GRU(GRUOptions(4, 5).bias(false)), x)),
      runs(RNNCell(4, 5), x[0]),
      runs(LSTMCell(4, 5), x[0]),
      runs(GRUCell(4, 5), x[0]),
      variant("WithoutBias", runs(GRUCell(GRUCellOptions(4, 5).bias(false)), x[0])),
  };
}

std::vector<TorchCase> convolutions_and_norms() {
  const auto x = rand({2, 4, 6}), xx = rand({2, 4, 6, 6}), xxx = rand({2, 4, 6, 6, 6});
  const auto tracked = InstanceNormOptions(4).affine(true).track_running_stats(true);
  return {
      runs(Conv1d(4, 2, 3), x),
      runs(Conv2d(4, 2, 3), xx),
      variant("WithoutBias", runs(Conv2d(Conv2dOptions(4, 2, 3).bias(false)), xx)),
      runs(Conv3d(4, 2, 3), xxx),
      runs(ConvTranspose1d(4, 2, 3), x),
      runs(ConvTranspose2d(4, 2, 3), xx),
      runs(ConvTranspose3d(4, 2, 3), xxx),
      runs(BatchNorm1d(4), x),
      runs(BatchNorm2d(4), xx),
      variant("OfNothing", runs(BatchNorm2d(BatchNormOptions(4).affine(false).track_running_stats(false)), xx)),
      runs(BatchNorm3d(4), xxx),
      runs(InstanceNorm1d(4), x),
      variant("Tracked", runs(InstanceNorm1d(tracked), x)),
      runs(InstanceNorm2d(4), xx),
      variant("Tracked", runs(InstanceNorm2d(tracked), xx)),
      runs(InstanceNorm3d(4), xxx),
      variant("Tracked", runs(InstanceNorm3d(tracked), xxx)),
      runs(LayerNorm(LayerNormOptions({6})), x),
      variant("OfNothing", runs(LayerNorm(LayerNormOptions({6}).elementwise_affine(false)), x)),
      runs(GroupNorm(GroupNormOptions(2, 4)), x),
      runs(LocalResponseNorm(2), x),
      runs(CrossMapLRN2d(3), xx),
  };
}

}  // namespace

std::vector<TorchCase> torch_layers() {
  const auto x = rand({2, 4});
  const auto words = tensor({0, 4}), offsets = tensor({0, 1});
  std::vector<TorchCase> result{
      runs(Identity(), x),
      runs(Linear(4, 3), x),
      variant("WithoutBias", runs(Linear(LinearOptions(4, 3).bias(false)), x)),
      runs(Bilinear(4, 3, 5), x, rand({2, 3})),
      runs(Embedding(5, 3), words),
      variant("FromPretrained", runs(Embedding::from_pretrained(rand({5, 3})), words)),
      runs(EmbeddingBag(5, 3), words, offsets),
      variant("FromPretrained", runs(EmbeddingBag::from_pretrained(rand({5, 3})), words, offsets)),
      runs(AdaptiveLogSoftmaxWithLoss(AdaptiveLogSoftmaxWithLossOptions(32, 20, {5, 10})), rand({2, 32}),
           tensor({3, 17})),
      runs(Flatten(), rand({2, 3, 4})),
      runs(Unflatten(1, std::vector<int64_t>{2, 2}), x),
      runs(PixelShuffle(2), rand({1, 4, 2, 2})),
      runs(PixelUnshuffle(2), rand({1, 1, 4, 4})),
      runs(Upsample(UpsampleOptions().scale_factor(std::vector<double>{2}).mode(torch::kNearest)), rand({1, 2, 4})),
      runs(Fold(FoldOptions({4, 4}, {2, 2})), rand({1, 8, 9})),
      runs(Unfold(UnfoldOptions({2, 2})), rand({1, 2, 4, 4})),
  };
  for (const auto& family : {transformers(), recurrent(), convolutions_and_norms()}) {
    result.insert(result.end(), family.begin(), family.end());
  }
  return result;
}

}  // namespace ramet
