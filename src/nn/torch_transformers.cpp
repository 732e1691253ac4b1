/// The Transformer and what it is made of. Options hold the prototype layers, which are not registered.
#include <torch/nn/modules/transformer.h>
#include <torch/nn/modules/transformercoder.h>
#include <torch/nn/modules/transformerlayer.h>

#include "nn/torch_types.h"

namespace {

using torch::nn::TransformerDecoderImpl;
using torch::nn::TransformerDecoderLayerImpl;
using torch::nn::TransformerEncoderImpl;
using torch::nn::TransformerEncoderLayerImpl;
using torch::nn::TransformerImpl;

}  // namespace

template <>
struct ramet::describe<TransformerEncoderLayerImpl>
    : ramet::fields<TransformerEncoderLayerImpl, &TransformerEncoderLayerImpl::self_attn,
                    &TransformerEncoderLayerImpl::linear1, &TransformerEncoderLayerImpl::dropout,
                    &TransformerEncoderLayerImpl::linear2, &TransformerEncoderLayerImpl::norm1,
                    &TransformerEncoderLayerImpl::norm2, &TransformerEncoderLayerImpl::dropout1,
                    &TransformerEncoderLayerImpl::dropout2> {};

template <>
struct ramet::describe<TransformerDecoderLayerImpl>
    : ramet::fields<TransformerDecoderLayerImpl, &TransformerDecoderLayerImpl::self_attn,
                    &TransformerDecoderLayerImpl::dropout1, &TransformerDecoderLayerImpl::norm1,
                    &TransformerDecoderLayerImpl::multihead_attn, &TransformerDecoderLayerImpl::dropout2,
                    &TransformerDecoderLayerImpl::norm2, &TransformerDecoderLayerImpl::linear1,
                    &TransformerDecoderLayerImpl::dropout, &TransformerDecoderLayerImpl::linear2,
                    &TransformerDecoderLayerImpl::dropout3, &TransformerDecoderLayerImpl::norm3> {};

template <>
    struct ramet::describe<TransformerEncoderImpl> : ramet::fields < TransformerEncoderImpl,
    &TransformerEncoderImpl::layers, &TransformerEncoderImpl::norm, ramet::via < "prototype",
    [](auto& module) -> auto& {
  return module.options.encoder_layer();
} >, ramet::via < "prototype_norm", [](auto& module) -> auto& {
  return module.options.norm();
}
>> {};

template <>
    struct ramet::describe<TransformerDecoderImpl> : ramet::fields < TransformerDecoderImpl,
    &TransformerDecoderImpl::layers, &TransformerDecoderImpl::norm, ramet::via < "prototype",
    [](auto& module) -> auto& {
  return module.options.decoder_layer();
} >, ramet::via < "prototype_norm", [](auto& module) -> auto& {
  return module.options.norm();
}
>> {};

template <>
    struct ramet::describe<TransformerImpl> : ramet::fields < TransformerImpl,
    &TransformerImpl::encoder, &TransformerImpl::decoder, ramet::via < "custom_encoder", [](auto& module) -> auto& {
  return module.options.custom_encoder();
} >, ramet::via < "custom_decoder", [](auto& module) -> auto& {
  return module.options.custom_decoder();
}
>> {};

void ramet::nn::enroll_transformers() {
  enroll_all<TransformerEncoderLayerImpl, TransformerDecoderLayerImpl, TransformerEncoderImpl, TransformerDecoderImpl,
             TransformerImpl>();
}
