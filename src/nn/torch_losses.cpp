/// Losses whose weights are buffers, a member and part of the options.
#include <torch/nn/modules/loss.h>

#include "nn/torch_types.h"

namespace {

template <class T>
concept Weighted = std::is_same_v<T, torch::nn::NLLLossImpl> || std::is_same_v<T, torch::nn::CrossEntropyLossImpl>;

// Their weight is registered, and held by the options alone.
template <class T>
concept WeightedByOptions = std::is_same_v<T, torch::nn::BCELossImpl> ||
    std::is_same_v<T, torch::nn::MultiMarginLossImpl> || std::is_same_v<T, torch::nn::MultiLabelSoftMarginLossImpl>;

constexpr auto option_weight = [](auto& module) -> auto& { return module.options.weight(); };
constexpr auto option_pos_weight = [](auto& module) -> auto& { return module.options.pos_weight(); };

}  // namespace

template <Weighted T>
struct ramet::describe<T> : ramet::fields<T, &T::weight, ramet::via<"weight", option_weight>> {};

template <WeightedByOptions T>
struct ramet::describe<T> : ramet::fields<T, ramet::via<"weight", option_weight>> {};

template <>
struct ramet::describe<torch::nn::BCEWithLogitsLossImpl>
    : ramet::fields<torch::nn::BCEWithLogitsLossImpl, &torch::nn::BCEWithLogitsLossImpl::weight,
                    &torch::nn::BCEWithLogitsLossImpl::pos_weight, ramet::via<"weight", option_weight>,
                    ramet::via<"pos_weight", option_pos_weight>> {};

void ramet::nn::enroll_losses() {
  using namespace torch::nn;
  enroll_all<NLLLossImpl, CrossEntropyLossImpl, BCELossImpl, MultiMarginLossImpl, MultiLabelSoftMarginLossImpl,
             BCEWithLogitsLossImpl>();
}
