/// Layers with tensors of their own.
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/adaptive.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/instancenorm.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/modules/pooling.h>

#include "nn/torch_types.h"

namespace {

template <class T, class... Ts>
concept OneOf = (std::is_same_v<T, Ts> || ...);

template <class T>
concept Affine = OneOf<T, torch::nn::LinearImpl, torch::nn::BilinearImpl, torch::nn::LayerNormImpl,
                       torch::nn::GroupNormImpl, torch::nn::Conv1dImpl, torch::nn::Conv2dImpl, torch::nn::Conv3dImpl,
                       torch::nn::ConvTranspose1dImpl, torch::nn::ConvTranspose2dImpl, torch::nn::ConvTranspose3dImpl>;

template <class T>
concept BatchNorm = OneOf<T, torch::nn::BatchNorm1dImpl, torch::nn::BatchNorm2dImpl, torch::nn::BatchNorm3dImpl,
                          torch::nn::InstanceNorm1dImpl, torch::nn::InstanceNorm2dImpl, torch::nn::InstanceNorm3dImpl>;

template <class T>
concept Embedding = OneOf<T, torch::nn::EmbeddingImpl, torch::nn::EmbeddingBagImpl>;

template <class T>
concept FractionalPool = OneOf<T, torch::nn::FractionalMaxPool2dImpl, torch::nn::FractionalMaxPool3dImpl>;

}  // namespace

template <Affine T>
struct ramet::describe<T> : ramet::fields<T, &T::weight, &T::bias> {};

template <BatchNorm T>
struct ramet::describe<T>
    : ramet::fields<T, &T::weight, &T::bias, &T::running_mean, &T::running_var, &T::num_batches_tracked> {};

// from_pretrained leaves the weight in the options too.
template <Embedding T>
    struct ramet::describe<T> : ramet::fields < T,
    &T::weight, ramet::via < "_weight", [](auto& module) -> auto& {
  return module.options._weight();
} >> {};

template <FractionalPool T>
    struct ramet::describe<T> : ramet::fields < T,
    &T::_random_samples, ramet::via < "options._random_samples", [](auto& module) -> auto& {
  return module.options._random_samples();
} >> {};

template <>
struct ramet::describe<torch::nn::PReLUImpl> : ramet::fields<torch::nn::PReLUImpl, &torch::nn::PReLUImpl::weight> {};

template <>
struct ramet::describe<torch::nn::MultiheadAttentionImpl>
    : ramet::fields<torch::nn::MultiheadAttentionImpl, &torch::nn::MultiheadAttentionImpl::in_proj_weight,
                    &torch::nn::MultiheadAttentionImpl::in_proj_bias, &torch::nn::MultiheadAttentionImpl::bias_k,
                    &torch::nn::MultiheadAttentionImpl::bias_v, &torch::nn::MultiheadAttentionImpl::out_proj,
                    &torch::nn::MultiheadAttentionImpl::q_proj_weight,
                    &torch::nn::MultiheadAttentionImpl::k_proj_weight,
                    &torch::nn::MultiheadAttentionImpl::v_proj_weight> {};

template <>
struct ramet::describe<torch::nn::AdaptiveLogSoftmaxWithLossImpl>
    : ramet::fields<torch::nn::AdaptiveLogSoftmaxWithLossImpl, &torch::nn::AdaptiveLogSoftmaxWithLossImpl::head,
                    &torch::nn::AdaptiveLogSoftmaxWithLossImpl::tail> {};

void ramet::nn::enroll_layers() {
  using namespace torch::nn;
  enroll_all<LinearImpl, BilinearImpl, LayerNormImpl, GroupNormImpl, Conv1dImpl, Conv2dImpl, Conv3dImpl,
             ConvTranspose1dImpl, ConvTranspose2dImpl, ConvTranspose3dImpl>();
  enroll_all<BatchNorm1dImpl, BatchNorm2dImpl, BatchNorm3dImpl, InstanceNorm1dImpl, InstanceNorm2dImpl,
             InstanceNorm3dImpl>();
  enroll_all<EmbeddingImpl, EmbeddingBagImpl, FractionalMaxPool2dImpl, FractionalMaxPool3dImpl, PReLUImpl,
             MultiheadAttentionImpl, AdaptiveLogSoftmaxWithLossImpl>();
}
