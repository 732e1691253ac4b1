/// torch::optim optimizers as members of a session: `ramet::clone(std::tie(net, optimizer))`.
///
/// The clone's optimizer holds the clone's tensors, with options and state of its own: state tensors are copied, also
/// where their parameter is shared. A parameter that nothing else of the session holds comes along as a copy. For a
/// reference the result is a `std::unique_ptr`, for a pointer a pointer of the same kind; null stays null. Known are
/// SGD, Adam, AdamW, RMSprop, Adagrad and LBFGS, each by its dynamic type; any other is an UncloneableError.
#pragma once

#include <ramet/clone.h>
#include <torch/optim/optimizer.h>

namespace ramet::detail {

template <class T>
concept Optimizer = std::derived_from<T, torch::optim::Optimizer>;

inline Source source_of_optimizer(const torch::optim::Optimizer* optimizer) {
  Source source;
  source.kind = Source::Kind::optimizer;
  source.optimizer = optimizer;
  return source;
}

/// Takes a made optimizer out of its shared_ptr. Throws PlanError if it was taken before.
torch::optim::Optimizer* release(const OptimizerPtr& made);

template <Optimizer T>
std::unique_ptr<T> take_unique(const Made*& next) {
  return std::unique_ptr<T>(static_cast<T*>(release(next++->optimizer)));
}

template <Optimizer T>
struct Handle<T> {
  using result = std::unique_ptr<T>;
  static constexpr bool only_in_session = true;
  static Source source(const T& optimizer) { return source_of_optimizer(&optimizer); }
  static result take(const Made*& next, const T&) { return take_unique<T>(next); }
};

template <Optimizer T>
struct Handle<std::unique_ptr<T>> {
  using result = std::unique_ptr<T>;
  static constexpr bool only_in_session = true;
  static Source source(const result& optimizer) { return source_of_optimizer(optimizer.get()); }
  static result take(const Made*& next, const result&) { return take_unique<T>(next); }
};

template <Optimizer T>
struct Handle<std::shared_ptr<T>> {
  using result = std::shared_ptr<T>;
  static constexpr bool only_in_session = true;
  static Source source(const result& optimizer) { return source_of_optimizer(optimizer.get()); }
  static result take(const Made*& next, const result&) { return std::static_pointer_cast<T>(next++->optimizer); }
};

}  // namespace ramet::detail
