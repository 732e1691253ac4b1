/// ResNet-50: bottleneck blocks of three convolutions, in four stages.
#include "resnet.h"

namespace {

constexpr int64_t expansion = 4;

torch::nn::Conv2d conv(int64_t in, int64_t out, int64_t kernel, int64_t stride) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(false));
}

torch::nn::Sequential stage(int64_t in, int64_t planes, int blocks, int64_t stride) {
  torch::nn::Sequential layer;
  for (int i = 0; i < blocks; ++i) {
    layer->push_back(Bottleneck(i == 0 ? in : planes * expansion, planes, i == 0 ? stride : 1));
  }
  return layer;
}

}  // namespace

BottleneckImpl::BottleneckImpl(int64_t in, int64_t planes, int64_t stride) : in_(in), planes_(planes), stride_(stride) {
  reset();
}

void BottleneckImpl::reset() {
  const int64_t out = planes_ * expansion;
  conv1 = register_module("conv1", conv(in_, planes_, 1, 1));
  bn1 = register_module("bn1", torch::nn::BatchNorm2d(planes_));
  conv2 = register_module("conv2", conv(planes_, planes_, 3, stride_));
  bn2 = register_module("bn2", torch::nn::BatchNorm2d(planes_));
  conv3 = register_module("conv3", conv(planes_, out, 1, 1));
  bn3 = register_module("bn3", torch::nn::BatchNorm2d(out));
  if (stride_ != 1 || in_ != out) {
    downsample =
        register_module("downsample", torch::nn::Sequential(conv(in_, out, 1, stride_), torch::nn::BatchNorm2d(out)));
  }
}

torch::Tensor BottleneckImpl::forward(torch::Tensor x) {
  torch::Tensor y = torch::relu(bn1(conv1(x)));
  y = torch::relu(bn2(conv2(y)));
  y = bn3(conv3(y));
  return torch::relu(y + (downsample.is_empty() ? x : downsample->forward(x)));
}

ResNet50Impl::ResNet50Impl(int64_t classes) : classes_(classes) { reset(); }

void ResNet50Impl::reset() {
  conv1 = register_module("conv1", conv(3, 64, 7, 2));
  bn1 = register_module("bn1", torch::nn::BatchNorm2d(64));
  layer1 = register_module("layer1", stage(64, 64, 3, 1));
  layer2 = register_module("layer2", stage(256, 128, 4, 2));
  layer3 = register_module("layer3", stage(512, 256, 6, 2));
  layer4 = register_module("layer4", stage(1024, 512, 3, 2));
  fc = register_module("fc", torch::nn::Linear(512 * expansion, classes_));
}

torch::Tensor ResNet50Impl::forward(torch::Tensor x) {
  x = torch::max_pool2d(torch::relu(bn1(conv1(x))), 3, 2, 1);
  x = layer4->forward(layer3->forward(layer2->forward(layer1->forward(x))));
  return fc(torch::adaptive_avg_pool2d(x, {1, 1}).flatten(1));
}
