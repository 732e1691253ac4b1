/// How a member of each type is shown to a Visitor. An overload a type; what has none is a plain value.
#pragma once

#include <ramet/visitor.h>
#include <torch/nn/modules/container/any.h>

#include <array>
#include <concepts>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace ramet {

template <class T>
struct describe;

namespace detail {

template <class T>
concept Module = std::derived_from<T, torch::nn::Module>;

template <class T>
concept Holder = std::derived_from<T, torch::nn::ModuleHolder<typename T::ContainedType>>;

/// Whether a type has a member list: an own `ramet_fields`, or a specialisation of `ramet::describe`.
template <class T>
concept Described = requires {
  typename describe<T>::self;
}
|| requires { typename T::ramet_fields; };

/// Finds the list of `T`; from outside the class first.
template <class T>
struct fields_of : T::ramet_fields {};
template <class T>
requires requires { typename describe<T>::self; }
struct fields_of<T> : describe<T> {};

/// Shows members of type `T`; `holds` tells whether there is anything in it to be shown. What has parts, a container or
/// a described struct, is a group, and `show` shows the parts.
template <class T>
struct Member {
  static constexpr bool holds = Described<T> && !Module<T>;
  static void show(T& value, Visitor& visitor) {
    if constexpr (holds) fields_of<T>::visit(value, visitor);
  }
  static void visit(Visitor& visitor, std::string_view name, T& value) {
    if constexpr (holds) {
      visitor.group(name, &value, [&value](Visitor& inner) { show(value, inner); });
    }
  }
};

/// Whether a type without anything to be shown surely refers to nothing: a number, a string, containers of these.
template <class T>
struct Plain : std::bool_constant<std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>> {};
template <class T>
requires requires { typename T::value_type; }
struct Plain<T> : Plain<typename T::value_type> {};
template <class A, class B>
struct Plain<std::pair<A, B>> : std::bool_constant<Plain<A>::value && Plain<B>::value> {};

template <>
struct Member<at::Tensor> {
  static constexpr bool holds = true;
  static void visit(Visitor& visitor, std::string_view name, at::Tensor& tensor) { visitor.tensor(name, tensor); }
};

template <class T>
struct Member<std::optional<T>> {
  static constexpr bool holds = Member<T>::holds;
  static void visit(Visitor& visitor, std::string_view name, std::optional<T>& value) {
    if (value) Member<T>::visit(visitor, name, *value);
  }
};

template <Holder H>
struct Member<H> {
  static constexpr bool holds = true;
  static void visit(Visitor& visitor, std::string_view name, H& holder) {
    using Impl = typename H::ContainedType;
    if (holder.is_empty()) return;
    visitor.module(name, holder.ptr(),
                   [&holder](const Visitor::ModulePtr& module) { holder = H(std::static_pointer_cast<Impl>(module)); });
  }
};

template <>
struct Member<torch::nn::AnyModule> {
  static constexpr bool holds = true;
  static void visit(Visitor& visitor, std::string_view name, torch::nn::AnyModule& any);
};

template <Module M>
struct Member<M*> {
  static constexpr bool holds = true;
  static void visit(Visitor& visitor, std::string_view name, M*& pointer) {
    if (pointer == nullptr) return;
    visitor.back(name, pointer,
                 [&pointer](const Visitor::ModulePtr& module) { pointer = static_cast<M*>(module.get()); });
  }
};

template <Module M>
struct Member<std::weak_ptr<M>> {
  static constexpr bool holds = true;
  static void visit(Visitor& visitor, std::string_view name, std::weak_ptr<M>& pointer) {
    const std::shared_ptr<M> held = pointer.lock();
    if (!held) return;
    visitor.back(name, held.get(),
                 [&pointer](const Visitor::ModulePtr& module) { pointer = std::static_pointer_cast<M>(module); });
  }
};

template <class State>
void show_state(void* state, Visitor& visitor) {
  State& value = *static_cast<State*>(state);
  if constexpr (requires { Member<State>::show(value, visitor); }) {
    Member<State>::show(value, visitor);
  } else {
    Member<State>::visit(visitor, "0", value);
  }
}

template <class State, auto copy>
inline constexpr StateType state_type{
    typeid(State), [](const void* state) { return Visitor::StatePtr(copy(*static_cast<const State*>(state))); },
    Member<std::remove_const_t<State>>::holds ? &show_state<std::remove_const_t<State>> : nullptr};

/// Shows a `shared_ptr` to state that is no module, with the function that copies it.
template <class State, auto copy>
void visit_state(Visitor& visitor, std::string_view name, std::shared_ptr<State>& pointer) {
  if (!pointer) return;
  visitor.state(name, pointer, state_type<State, copy>, [&pointer](const Visitor::StatePtr& made) {
    pointer = std::const_pointer_cast<State>(std::static_pointer_cast<const State>(made));
  });
}

template <class State>
std::shared_ptr<State> copy_constructed(const State& state) {
  return std::make_shared<State>(state);
}

template <class T>
struct Member<std::shared_ptr<T>> {
  static constexpr bool holds = true;
  static void visit(Visitor& visitor, std::string_view name, std::shared_ptr<T>& pointer) {
    if constexpr (Module<T>) {
      if (!pointer) return;
      visitor.module(name, pointer,
                     [&pointer](const Visitor::ModulePtr& module) { pointer = std::static_pointer_cast<T>(module); });
    } else {
      static_assert(std::is_copy_constructible_v<T>,
                    "ramet: a shared_ptr member's type cannot be copied: write ramet::keep<&Class::member> in the "
                    "member list to share it with the source, or ramet::copy<&Class::member, function>");
      static_assert(!std::is_polymorphic_v<T> || std::is_final_v<T>,
                    "ramet: a shared_ptr member's type is polymorphic, so that copying it could slice it: write "
                    "ramet::keep<&Class::member> or ramet::copy<&Class::member, function> in the member list");
      visit_state<T, &copy_constructed<T>>(visitor, name, pointer);
    }
  }
};

/// Makes a group of what has parts: `Parts` tells how to show them.
template <class Parts, class T>
struct GroupMember {
  static void visit(Visitor& visitor, std::string_view name, T& value) {
    if constexpr (Parts::holds) {
      visitor.group(name, &value, [&value](Visitor& inner) { Parts::show(value, inner); });
    }
  }
};

/// Elements are named by their index.
template <class Container, class T>
struct SequenceMember : GroupMember<SequenceMember<Container, T>, Container> {
  static constexpr bool holds = Member<T>::holds;
  static void show(Container& container, Visitor& visitor) {
    std::size_t index = 0;
    for (T& element : container) Member<T>::visit(visitor, std::to_string(index++), element);
  }
};

template <class T, class A>
struct Member<std::vector<T, A>> : SequenceMember<std::vector<T, A>, T> {};
template <class T, std::size_t n>
struct Member<std::array<T, n>> : SequenceMember<std::array<T, n>, T> {};

template <class Key>
std::string key_text(const Key& key) {
  if constexpr (std::integral<Key>) {
    return std::to_string(key);
  } else {
    return std::string(key);
  }
}

template <class Container, class T>
struct MapMember : GroupMember<MapMember<Container, T>, Container> {
  static constexpr bool holds = Member<T>::holds;
  static void show(Container& container, Visitor& visitor) {
    for (auto& [key, value] : container) Member<T>::visit(visitor, key_text(key), value);
  }
};

template <class K, class T, class C, class A>
struct Member<std::map<K, T, C, A>> : MapMember<std::map<K, T, C, A>, T> {};
template <class K, class T, class H, class E, class A>
struct Member<std::unordered_map<K, T, H, E, A>> : MapMember<std::unordered_map<K, T, H, E, A>, T> {};

template <class K, class T>
struct Member<torch::OrderedDict<K, T>> : GroupMember<Member<torch::OrderedDict<K, T>>, torch::OrderedDict<K, T>> {
  static constexpr bool holds = Member<T>::holds;
  static void show(torch::OrderedDict<K, T>& dict, Visitor& visitor) {
    for (auto& item : dict) Member<T>::visit(visitor, key_text(item.key()), item.value());
  }
};

template <class A, class B>
struct Member<std::pair<A, B>> : GroupMember<Member<std::pair<A, B>>, std::pair<A, B>> {
  static constexpr bool holds = Member<A>::holds || Member<B>::holds;
  static void show(std::pair<A, B>& pair, Visitor& visitor) {
    Member<A>::visit(visitor, "0", pair.first);
    Member<B>::visit(visitor, "1", pair.second);
  }
};

}  // namespace detail
}  // namespace ramet
