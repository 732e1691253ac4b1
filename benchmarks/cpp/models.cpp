#include "models.h"

namespace ramet::bench {
namespace {

void add_block(torch::nn::Sequential& net, int64_t in, int64_t out) {
  net->push_back(torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 3).padding(1).bias(false)));
  net->push_back(torch::nn::BatchNorm2d(out));
  net->push_back(torch::nn::ReLU());
}

}  // namespace

torch::nn::Transformer transformer() {
  return torch::nn::Transformer(
      torch::nn::TransformerOptions(512, 8).num_encoder_layers(6).num_decoder_layers(6).dim_feedforward(2048));
}

torch::nn::Sequential convnet() {
  torch::nn::Sequential result;
  add_block(result, 3, 64);
  for (int64_t width : {64, 128, 256}) {
    for (int i = 0; i < 6; ++i) add_block(result, width, width);
    add_block(result, width, 2 * width);
  }
  result->push_back(torch::nn::AdaptiveAvgPool2d(1));
  result->push_back(torch::nn::Flatten());
  result->push_back(torch::nn::Linear(512, 1000));
  return result;
}

torch::nn::Sequential tiny_layers(int modules) {
  torch::nn::Sequential result;
  for (int i = 0; i < modules; ++i) result->push_back(torch::nn::Linear(8, 8));
  return result;
}

torch::nn::ParameterList tiny_tensors(int tensors) {
  torch::nn::ParameterList result;
  for (int i = 0; i < tensors; ++i) result->append(torch::rand({64}));
  return result;
}

torch::nn::Sequential of_bytes(int64_t bytes) {
  torch::nn::Sequential result;
  for (int i = 0; i < 8; ++i) {
    torch::nn::Linear layer(torch::nn::LinearOptions(1, 1).bias(false));
    layer->weight.set_data(torch::ones({bytes / 8 / 4096, 1024}));
    result->push_back(layer);
  }
  return result;
}

std::size_t bytes_of(const torch::nn::Module& model) {
  std::size_t result = 0;
  for (const auto& tensor : model.parameters()) result += tensor.nbytes();
  return result;
}

}  // namespace ramet::bench
