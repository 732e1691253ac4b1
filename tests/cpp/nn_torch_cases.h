/// LibTorch's own module types: an instance of each, and how to run it.
#pragma once

#include <c10/util/Type.h>
#include <torch/torch.h>

#include <functional>
#include <string>
#include <vector>

namespace ramet {

struct TorchCase {
  std::string type;     ///< "Linear"
  std::string variant;  ///< Tells several instances of one type apart; may be empty.
  std::shared_ptr<torch::nn::Module> module;
  std::function<std::vector<torch::Tensor>(torch::nn::Module&)> forward;  ///< Null for a type that has none.
};

/// All types.
std::vector<TorchCase> torch_activations();
std::vector<TorchCase> torch_containers();
std::vector<TorchCase> torch_layers();
std::vector<TorchCase> torch_losses();
std::vector<TorchCase> torch_pools();

/// "LinearImpl" of torch::nn::LinearImpl.
inline std::string torch_name(const std::type_info& type) {
  const std::string name = c10::demangle(type.name());
  return name.substr(name.rfind(':') + 1);
}

inline std::vector<torch::Tensor> outputs(const torch::Tensor& tensor) { return {tensor}; }
inline std::vector<torch::Tensor> outputs(const torch::nn::ASMoutput& output) {
  return {output.output, torch::tensor(output.loss)};
}
template <class... Ts>
std::vector<torch::Tensor> outputs(const std::tuple<Ts...>& tuple) {
  std::vector<torch::Tensor> result;
  const auto add = [&](const auto& part) {
    for (const torch::Tensor& tensor : outputs(part)) result.push_back(tensor);
  };
  std::apply([&](const auto&... parts) { (add(parts), ...); }, tuple);
  return result;
}

/// A type without forward.
template <class Holder>
TorchCase still(const Holder& net) {
  using Impl = typename Holder::ContainedType;
  static_assert(
      !requires { &Impl::forward; }, "it has a forward: give its inputs");
  std::string name = torch_name(typeid(Impl));
  return {name.substr(0, name.rfind("Impl")), "", net.ptr(), nullptr};
}

/// A type and what its forward takes.
template <class Holder, class... Inputs>
TorchCase runs(const Holder& net, const Inputs&... inputs) {
  using Impl = typename Holder::ContainedType;
  const std::string name = torch_name(typeid(Impl));
  return {name.substr(0, name.rfind("Impl")), "", net.ptr(),
          [=](torch::nn::Module& module) { return outputs(dynamic_cast<Impl&>(module).forward(inputs...)); }};
}

inline TorchCase variant(std::string name, TorchCase it) {
  it.variant = std::move(name);
  return it;
}

}  // namespace ramet
