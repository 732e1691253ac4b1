/// ResNet-50 as LibTorch modules: what a user's own model looks like, with one line a class for Ramet.
///
/// `Cloneable` and `reset()` are here for Module::clone(), to compare with; Ramet needs neither.
#pragma once

#include <ramet/ramet.h>
#include <torch/torch.h>

struct BottleneckImpl : torch::nn::Cloneable<BottleneckImpl> {
  BottleneckImpl(int64_t in, int64_t planes, int64_t stride);
  void reset() override;
  torch::Tensor forward(torch::Tensor x);

  torch::nn::Conv2d conv1{nullptr}, conv2{nullptr}, conv3{nullptr};
  torch::nn::BatchNorm2d bn1{nullptr}, bn2{nullptr}, bn3{nullptr};
  torch::nn::Sequential downsample{nullptr};
  RAMET_MODULE(BottleneckImpl, conv1, conv2, conv3, bn1, bn2, bn3, downsample)

 private:
  int64_t in_, planes_, stride_;
};
TORCH_MODULE(Bottleneck);

struct ResNet50Impl : torch::nn::Cloneable<ResNet50Impl> {
  explicit ResNet50Impl(int64_t classes = 1000);
  void reset() override;
  torch::Tensor forward(torch::Tensor x);

  torch::nn::Conv2d conv1{nullptr};
  torch::nn::BatchNorm2d bn1{nullptr};
  torch::nn::Sequential layer1{nullptr}, layer2{nullptr}, layer3{nullptr}, layer4{nullptr};
  torch::nn::Linear fc{nullptr};
  RAMET_MODULE(ResNet50Impl, conv1, bn1, layer1, layer2, layer3, layer4, fc)

 private:
  int64_t classes_;
};
TORCH_MODULE(ResNet50);
