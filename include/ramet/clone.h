/// Clones of torch::nn modules: one, several in a session, or many at once; and what a clone would do.
///
/// A source is a holder (`Net`), a `std::shared_ptr<NetImpl>` or a `const NetImpl&`; a session is a tuple, pair, vector
/// or map of holders and shared pointers. Nothing is shared unless the options say so: every tensor is copied with its
/// dtype, device and strides, every tie within the source (across a session's members too) is a tie in the clone.
/// `reset()` is never called, nothing is initialised, the random state does not advance, the source never changes.
///
/// Throws PlanError for rules that cannot be carried out, UncloneableError for a class that lists no members; both
/// before anything is allocated. One source may be cloned from several threads at once.
#pragma once

#include <ramet/options.h>
#include <ramet/relation.h>

#include <tuple>

namespace ramet {
namespace detail {

using ModulePtr = std::shared_ptr<torch::nn::Module>;

/// The modules to clone: one, or the members of a session by name. Null members stay null.
struct Source {
  std::vector<const torch::nn::Module*> modules;
  std::vector<std::string> names;  ///< Of a session's members.
  bool session = false;
};

/// `n` clones of each module of the source.
std::vector<std::vector<ModulePtr>> clone(const Source& source, std::size_t n, const CloneOptions& options);
Catalog catalog(const Source& source);
Plan plan(const Source& source, const CloneOptions& options);
Relation relation(const Source& a, const Source& b);

/// How a C++ type is taken apart into modules, and made again from their clones.
template <class T>
struct Handle;

template <class T>
concept Cloneable = requires {
  typename Handle<T>::result;
};

/// A handle of one module, as a session's members are.
template <class T>
concept Single = Holder<T> || requires {
  requires Module<typename T::element_type>;
};

template <Module M>
struct Handle<M> {
  using result = std::shared_ptr<M>;
  static void add(const M& module, Source& source) { source.modules.push_back(&module); }
  static result take(const ModulePtr*& next) { return std::static_pointer_cast<M>(*next++); }
};

template <Module M>
struct Handle<std::shared_ptr<M>> {
  using result = std::shared_ptr<M>;
  static void add(const result& module, Source& source) { source.modules.push_back(module.get()); }
  static result take(const ModulePtr*& next) { return std::static_pointer_cast<M>(*next++); }
};

template <Holder H>
struct Handle<H> {
  using result = H;
  static void add(const H& holder, Source& source) {
    source.modules.push_back(holder.is_empty() ? nullptr : holder.ptr().get());
  }
  static result take(const ModulePtr*& next) { return H(std::static_pointer_cast<typename H::ContainedType>(*next++)); }
};

template <Single... Ts>
struct Handle<std::tuple<Ts...>> {
  using result = std::tuple<typename Handle<Ts>::result...>;
  static void add(const std::tuple<Ts...>& members, Source& source) {
    std::apply([&](const Ts&... each) { (Handle<Ts>::add(each, source), ...); }, members);
    for (std::size_t i = 0; i < sizeof...(Ts); ++i) source.names.push_back(std::to_string(i));
    source.session = true;
  }
  static result take(const ModulePtr*& next) { return result{Handle<Ts>::take(next)...}; }
};

template <Single A, Single B>
struct Handle<std::pair<A, B>> {
  using result = std::pair<typename Handle<A>::result, typename Handle<B>::result>;
  static void add(const std::pair<A, B>& members, Source& source) {
    Handle<std::tuple<A, B>>::add(std::tuple<A, B>(members), source);
  }
  static result take(const ModulePtr*& next) {
    auto [a, b] = Handle<std::tuple<A, B>>::take(next);
    return {std::move(a), std::move(b)};
  }
};

template <Single T>
struct Handle<std::vector<T>> {
  using result = std::vector<typename Handle<T>::result>;
  static void add(const std::vector<T>& members, Source& source) {
    for (const T& member : members) {
      source.names.push_back(std::to_string(source.modules.size()));
      Handle<T>::add(member, source);
    }
    source.session = true;
  }
  static result take(const ModulePtr*& next, const std::vector<T>& members) {
    result made;
    for (std::size_t i = 0; i < members.size(); ++i) made.push_back(Handle<T>::take(next));
    return made;
  }
};

template <Single T>
struct Handle<std::map<std::string, T>> {
  using result = std::map<std::string, typename Handle<T>::result>;
  static void add(const std::map<std::string, T>& members, Source& source) {
    for (const auto& [name, member] : members) {
      source.names.push_back(name);
      Handle<T>::add(member, source);
    }
    source.session = true;
  }
  static result take(const ModulePtr*& next, const std::map<std::string, T>& members) {
    result made;
    for (const auto& [name, member] : members) made.emplace(name, Handle<T>::take(next));
    return made;
  }
};

template <Cloneable T>
Source source_of(const T& handle) {
  Source source;
  Handle<T>::add(handle, source);
  return source;
}

template <Cloneable T>
typename Handle<T>::result made(const T& source, const std::vector<ModulePtr>& modules) {
  const ModulePtr* next = modules.data();
  if constexpr (requires { Handle<T>::take(next, source); }) {
    return Handle<T>::take(next, source);
  } else {
    return Handle<T>::take(next);
  }
}

}  // namespace detail

/// Clones a module, or the modules of a session. Returns the type of the source (a shared_ptr for a `const NetImpl&`).
template <detail::Cloneable T>
auto clone(const T& source, const CloneOptions& options = {}) {
  return detail::made(source, detail::clone(detail::source_of(source), 1, options)[0]);
}

/// Makes `n` clones at once, from one look at the source.
template <detail::Cloneable T>
auto clones(const T& source, std::size_t n, const CloneOptions& options = {}) {
  std::vector<typename detail::Handle<T>::result> result;
  for (const auto& modules : detail::clone(detail::source_of(source), n, options)) {
    result.push_back(detail::made(source, modules));
  }
  return result;
}

/// Lists what is tied to what, and nothing that is not. Undescribed classes do not matter here.
template <detail::Cloneable T>
Catalog catalog(const T& source) {
  return detail::catalog(detail::source_of(source));
}

/// Says what a clone under these options would do, without allocating a tensor.
template <detail::Cloneable T>
Plan plan(const T& source, const CloneOptions& options = {}) {
  return detail::plan(detail::source_of(source), options);
}

/// Says what two models share, alias, or only equal, path by path. Undescribed classes do not matter here.
template <detail::Cloneable A, detail::Cloneable B>
Relation relation(const A& a, const B& b) {
  return detail::relation(detail::source_of(a), detail::source_of(b));
}

}  // namespace ramet
