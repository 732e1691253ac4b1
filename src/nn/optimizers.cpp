/// The six optimizers of torch::optim, taken apart and put together. Their copy constructors are deleted; options and
/// state have a clone of their own, whose tensors are still the source's.
#include "nn/optimizers.h"

#include <c10/util/Type.h>
#include <ramet/errors.h>
#include <ramet/optimizers.h>
#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/lbfgs.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <typeindex>

namespace ramet::nn {
namespace {

using torch::optim::Optimizer;
using torch::optim::OptimizerParamGroup;
using torch::optim::OptimizerParamState;

/// Is called with a state's tensors, by name.
using Show = std::function<void(const std::string& name, at::Tensor& tensor)>;

void show(torch::optim::SGDParamState& state, const Show& show) { show("momentum_buffer", state.momentum_buffer()); }

template <class AdamState>
void show_adam(AdamState& state, const Show& show) {
  show("exp_avg", state.exp_avg());
  show("exp_avg_sq", state.exp_avg_sq());
  show("max_exp_avg_sq", state.max_exp_avg_sq());
}
void show(torch::optim::AdamParamState& state, const Show& show) { show_adam(state, show); }
void show(torch::optim::AdamWParamState& state, const Show& show) { show_adam(state, show); }

void show(torch::optim::RMSpropParamState& state, const Show& show) {
  show("square_avg", state.square_avg());
  show("momentum_buffer", state.momentum_buffer());
  show("grad_avg", state.grad_avg());
}

void show(torch::optim::AdagradParamState& state, const Show& show) { show("sum", state.sum()); }

template <class Tensors>
void show_each(const std::string& name, Tensors& tensors, const Show& show) {
  std::size_t index = 0;
  for (at::Tensor& tensor : tensors) show(name + "_" + std::to_string(index++), tensor);
}

void show(torch::optim::LBFGSParamState& state, const Show& show) {
  show("d", state.d());
  show("H_diag", state.H_diag());
  show("prev_flat_grad", state.prev_flat_grad());
  show_each("old_dirs", state.old_dirs(), show);
  show_each("old_stps", state.old_stps(), show);
  show_each("ro", state.ro(), show);
  if (state.al()) show_each("al", *state.al(), show);
}

struct OptimizerType {
  std::unique_ptr<Optimizer> (*make)(const Optimizer& source, std::vector<OptimizerParamGroup> groups);
  void (*show)(OptimizerParamState& state, const Show& show);
};

template <class T, class Options, class State>
OptimizerType optimizer_type() {
  return {[](const Optimizer& source, std::vector<OptimizerParamGroup> groups) -> std::unique_ptr<Optimizer> {
            return std::make_unique<T>(std::move(groups), static_cast<const Options&>(source.defaults()));
          },
          [](OptimizerParamState& state, const Show& visit) { show(static_cast<State&>(state), visit); }};
}

const OptimizerType* find_type(const Optimizer& optimizer) {
  using namespace torch::optim;
  static const std::unordered_map<std::type_index, OptimizerType> types{
      {typeid(SGD), optimizer_type<SGD, SGDOptions, SGDParamState>()},
      {typeid(Adam), optimizer_type<Adam, AdamOptions, AdamParamState>()},
      {typeid(AdamW), optimizer_type<AdamW, AdamWOptions, AdamWParamState>()},
      {typeid(RMSprop), optimizer_type<RMSprop, RMSpropOptions, RMSpropParamState>()},
      {typeid(Adagrad), optimizer_type<Adagrad, AdagradOptions, AdagradParamState>()},
      {typeid(LBFGS), optimizer_type<LBFGS, LBFGSOptions, LBFGSParamState>()}};
  const auto it = types.find(typeid(optimizer));
  return it == types.end() ? nullptr : &it->second;
}

/// Deletes what nobody has taken out.
struct Releasable {
  bool released = false;
  void operator()(Optimizer* optimizer) const {
    if (!released) delete optimizer;
  }
};

/// Calls `use` with the state of each parameter that has one, and the parameter's place among all.
template <class Use>
void for_each_state(const Optimizer& optimizer, const Use& use) {
  std::size_t place = 0;
  for (const OptimizerParamGroup& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      const auto it = optimizer.state().find(parameter.unsafeGetTensorImpl());
      if (it != optimizer.state().end()) use(place, *it->second);
      ++place;
    }
  }
}

}  // namespace

std::string why_unknown(const Optimizer& optimizer) {
  if (find_type(optimizer) != nullptr) return {};
  return "an optimizer of type '" + c10::demangle(typeid(optimizer).name()) +
         "' is none that clone knows (SGD, Adam, AdamW, RMSprop, Adagrad, LBFGS): make it anew over the clone";
}

OptimizerParts parts_of(const Optimizer& optimizer) {
  OptimizerParts result;
  for (const OptimizerParamGroup& group : optimizer.param_groups()) result.groups.push_back(group.params());
  for_each_state(optimizer, [&](std::size_t place, OptimizerParamState& state) {
    auto& tensors = result.state.emplace_back(place, 0).second;
    find_type(optimizer)->show(state, [&](const std::string& name, at::Tensor& tensor) {
      if (tensor.defined()) tensors.emplace_back(name, tensor);
    });
  });
  return result;
}

detail::OptimizerPtr make_optimizer(const Optimizer& source, const OptimizerParts& tensors) {
  const OptimizerType& type = *find_type(source);
  std::vector<OptimizerParamGroup> groups;
  std::vector<at::Tensor> parameters;
  for (const std::vector<at::Tensor>& group : tensors.groups) {
    groups.emplace_back(group);
    parameters.insert(parameters.end(), group.begin(), group.end());
  }
  std::unique_ptr<Optimizer> result = type.make(source, std::move(groups));
  // A constructor replaces options of a group that look like the default; these are already settled.
  for (std::size_t i = 0; i < source.param_groups().size(); ++i) {
    const OptimizerParamGroup& group = source.param_groups()[i];
    if (group.has_options()) result->param_groups()[i].set_options(group.options().clone());
  }
  result->state().clear();
  auto made = tensors.state.begin();
  for_each_state(source, [&](std::size_t place, OptimizerParamState& state) {
    std::unique_ptr<OptimizerParamState> own = state.clone();
    auto next = made++->second.begin();
    type.show(*own, [&](const std::string&, at::Tensor& tensor) {
      if (tensor.defined()) tensor = next++->second;
    });
    result->state()[parameters[place].unsafeGetTensorImpl()] = std::move(own);
  });
  return detail::OptimizerPtr(result.release(), Releasable());
}

}  // namespace ramet::nn

namespace ramet::detail {

torch::optim::Optimizer* release(const OptimizerPtr& made) {
  if (!made) return nullptr;
  auto* const owner = std::get_deleter<nn::Releasable>(made);
  if (owner == nullptr || std::exchange(owner->released, true)) {
    throw PlanError(
        "clone: one optimizer is twice in the session, and its clone cannot have two owners; hold it by a "
        "shared_ptr, or name it once");
  }
  return made.get();
}

}  // namespace ramet::detail
