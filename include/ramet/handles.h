/// What can be cloned, by its C++ type: how it is taken apart into a Source's members, and made again from their
/// clones.
#pragma once

#include <ramet/members.h>

#include <map>
#include <tuple>

namespace torch::optim {
class Optimizer;
}

namespace ramet::detail {

using ModulePtr = std::shared_ptr<torch::nn::Module>;
using OptimizerPtr = std::shared_ptr<torch::optim::Optimizer>;

/// What to clone: one module, or a session's members by name, nested at will. An empty member stays empty.
struct Source {
  enum class Kind { module, tensor, optimizer, session };
  Kind kind = Kind::module;
  std::string name;  ///< As a member of a session.
  const torch::nn::Module* module = nullptr;
  at::Tensor tensor;
  const torch::optim::Optimizer* optimizer = nullptr;
  std::vector<Source> members;
};

/// The clone of one member; of its three one at most is there.
struct Made {
  ModulePtr module;
  at::Tensor tensor;
  OptimizerPtr optimizer;
};

/// How a C++ type is taken apart into members, and made again from their clones.
template <class T>
struct Handle;

template <class T>
concept Handled = requires {
  typename Handle<T>::result;
};

/// What can be cloned by itself: a tensor or an optimizer is so only together with modules.
template <class T>
concept Cloneable = Handled<T> && !Handle<T>::only_in_session;

inline Source source_of_module(const torch::nn::Module* module) {
  Source source;
  source.module = module;
  return source;
}

/// A session of the members that `add` is called with, by name.
class SessionSource {
 public:
  SessionSource() { source_.kind = Source::Kind::session; }

  template <class T>
  void add(std::string name, const T& member) {
    source_.members.push_back(Handle<std::remove_cvref_t<T>>::source(member));
    source_.members.back().name = std::move(name);
  }

  Source take() { return std::move(source_); }

 private:
  Source source_;
};

template <Module M>
struct Handle<M> {
  using result = std::shared_ptr<M>;
  static constexpr bool only_in_session = false;
  static Source source(const M& module) { return source_of_module(&module); }
  static result take(const Made*& next, const M&) { return std::static_pointer_cast<M>(next++->module); }
};

template <Module M>
struct Handle<std::shared_ptr<M>> {
  using result = std::shared_ptr<M>;
  static constexpr bool only_in_session = false;
  static Source source(const result& module) { return source_of_module(module.get()); }
  static result take(const Made*& next, const result&) { return std::static_pointer_cast<M>(next++->module); }
};

template <Holder H>
struct Handle<H> {
  using result = H;
  static constexpr bool only_in_session = false;
  static Source source(const H& holder) { return source_of_module(holder.is_empty() ? nullptr : holder.ptr().get()); }
  static result take(const Made*& next, const H&) {
    return H(std::static_pointer_cast<typename H::ContainedType>(next++->module));
  }
};

/// Counts as a parameter if it requires grad, else as a buffer.
template <>
struct Handle<at::Tensor> {
  using result = at::Tensor;
  static constexpr bool only_in_session = true;
  static Source source(const at::Tensor& tensor) {
    Source source;
    source.kind = Source::Kind::tensor;
    source.tensor = tensor;
    return source;
  }
  static result take(const Made*& next, const at::Tensor&) { return next++->tensor; }
};

/// References too, as in std::tie(net, optimizer): the result holds what each refers to.
template <class... Ts>
requires(Handled<std::remove_cvref_t<Ts>>&&...) struct Handle<std::tuple<Ts...>> {
  using result = std::tuple<typename Handle<std::remove_cvref_t<Ts>>::result...>;
  static constexpr bool only_in_session = false;
  static Source source(const std::tuple<Ts...>& members) {
    SessionSource source;
    int index = 0;
    std::apply([&](const auto&... each) { (source.add(std::to_string(index++), each), ...); }, members);
    return source.take();
  }
  static result take(const Made*& next, const std::tuple<Ts...>& members) {
    return std::apply([&](const auto&... each) { return result{Handle<std::remove_cvref_t<Ts>>::take(next, each)...}; },
                      members);
  }
};

template <Handled A, Handled B>
struct Handle<std::pair<A, B>> {
  using result = std::pair<typename Handle<A>::result, typename Handle<B>::result>;
  static constexpr bool only_in_session = false;
  static Source source(const std::pair<A, B>& members) {
    SessionSource source;
    source.add("0", members.first);
    source.add("1", members.second);
    return source.take();
  }
  static result take(const Made*& next, const std::pair<A, B>& members) {
    return result{Handle<A>::take(next, members.first), Handle<B>::take(next, members.second)};
  }
};

template <Handled T>
struct Handle<std::vector<T>> {
  using result = std::vector<typename Handle<T>::result>;
  static constexpr bool only_in_session = false;
  static Source source(const std::vector<T>& members) {
    SessionSource source;
    for (std::size_t i = 0; i < members.size(); ++i) source.add(std::to_string(i), members[i]);
    return source.take();
  }
  static result take(const Made*& next, const std::vector<T>& members) {
    result made;
    for (const T& member : members) made.push_back(Handle<T>::take(next, member));
    return made;
  }
};

template <Handled T>
struct Handle<std::map<std::string, T>> {
  using result = std::map<std::string, typename Handle<T>::result>;
  static constexpr bool only_in_session = false;
  static Source source(const std::map<std::string, T>& members) {
    SessionSource source;
    for (const auto& [name, member] : members) source.add(name, member);
    return source.take();
  }
  static result take(const Made*& next, const std::map<std::string, T>& members) {
    result made;
    for (const auto& [name, member] : members) made.emplace(name, Handle<T>::take(next, member));
    return made;
  }
};

template <Cloneable T>
Source source_of(const T& handle) {
  return Handle<T>::source(handle);
}

template <Cloneable T>
typename Handle<T>::result made(const T& source, const std::vector<Made>& members) {
  const Made* next = members.data();
  return Handle<T>::take(next, source);
}

}  // namespace ramet::detail
