/// Recurrent layers. Their flat weights are a protected vector of the registered parameters.
#include <torch/nn/modules/rnn.h>

#include "nn/torch_types.h"

namespace {

/// Reaches a protected member of a base: a pointer to it may be formed in a derived class.
template <class R>
struct Peek : R {
  static constexpr auto flat_weights = &Peek::flat_weights_;
};

template <class T>
concept Recurrent = std::is_same_v<T, torch::nn::RNNImpl> || std::is_same_v<T, torch::nn::LSTMImpl> ||
    std::is_same_v<T, torch::nn::GRUImpl>;

template <class T>
concept Cell = std::is_same_v<T, torch::nn::RNNCellImpl> || std::is_same_v<T, torch::nn::LSTMCellImpl> ||
    std::is_same_v<T, torch::nn::GRUCellImpl>;

}  // namespace

template <Recurrent T>
struct ramet::describe<T> {
  using self = T;
  static void visit(T& module, ramet::Visitor& visitor) {
    // Tensors of this module, so shown as its own members rather than as a container's.
    std::size_t index = 0;
    for (at::Tensor& weight : module.*Peek<T>::flat_weights) visitor.tensor(std::to_string(index++), weight);
  }
};

template <Cell T>
struct ramet::describe<T> : ramet::fields<T, &T::weight_ih, &T::weight_hh, &T::bias_ih, &T::bias_hh> {};

void ramet::nn::enroll_recurrent() {
  using namespace torch::nn;
  enroll_all<RNNImpl, LSTMImpl, GRUImpl, RNNCellImpl, LSTMCellImpl, GRUCellImpl>();
}
