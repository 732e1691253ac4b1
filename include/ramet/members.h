/// How a member of each type is shown to a Visitor: a specialisation of Member a type. A shared_ptr's stands in
/// state.h, those with parts in containers.h; what has no specialisation is a plain value.
#pragma once

#include <ramet/visitor.h>
#include <torch/nn/modules/container/named_any.h>

#include <concepts>
#include <functional>
#include <type_traits>

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

template <class T>
void show_listed(T& value, Visitor& visitor) {
  static_assert(std::is_same_v<typename fields_of<T>::self, T>,
                "ramet: the member list is that of a base class: give the class a list of its own, with "
                "ramet::base<Base> in it");
  fields_of<T>::visit(value, visitor);
}

/// Shows members of type `T`. `holds` tells whether there is anything in it to be shown; `known`, whether it refers to
/// nothing else: a clone would share that with the source unseen. What has parts, a container or a described struct, is
/// a group, and `show` shows the parts.
template <class T>
struct Member {
  static constexpr bool holds = Described<T> && !Module<T>;
  static constexpr bool known() { return holds || (std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>); }
  static void show(T& value, Visitor& visitor) {
    if constexpr (holds) show_listed(value, visitor);
  }
  static void visit(Visitor& visitor, std::string_view name, T& value) {
    if constexpr (holds) {
      visitor.group(name, &value, [&value](Visitor& inner) { show(value, inner); });
    }
  }
};

/// What cannot be rebound: a plain value, or nothing that is known.
template <class T>
requires(!std::is_array_v<T>) struct Member<const T> {
  static constexpr bool holds = false;
  static constexpr bool known() { return !Member<T>::holds && Member<T>::known(); }
  static void visit(Visitor&, std::string_view, const T&) {}
};

/// What refers to something, and is itself all that it refers to.
struct HandleMember {
  static constexpr bool holds = true;
  static constexpr bool known() { return true; }
};

template <>
struct Member<at::Tensor> : HandleMember {
  static void visit(Visitor& visitor, std::string_view name, at::Tensor& tensor) { visitor.tensor(name, tensor); }
};

template <Holder H>
struct Member<H> : HandleMember {
  static void visit(Visitor& visitor, std::string_view name, H& holder) {
    using Impl = typename H::ContainedType;
    if (holder.is_empty()) return visitor.empty(name);
    visitor.module(name, holder.ptr(),
                   [&holder](const Visitor::ModulePtr& module) { holder = H(std::static_pointer_cast<Impl>(module)); });
  }
};

template <>
struct Member<torch::nn::AnyModule> : HandleMember {
  static void visit(Visitor& visitor, std::string_view name, torch::nn::AnyModule& any);
};

template <>
struct Member<torch::nn::NamedAnyModule> : HandleMember {
  static void visit(Visitor& visitor, std::string_view name, torch::nn::NamedAnyModule& named) {
    Member<torch::nn::AnyModule>::visit(visitor, name, named.module());
  }
};

template <Module M>
struct Member<M*> : HandleMember {
  static void visit(Visitor& visitor, std::string_view name, M*& pointer) {
    if (pointer == nullptr) return;
    visitor.back(name, pointer,
                 [&pointer](const Visitor::ModulePtr& module) { pointer = static_cast<M*>(module.get()); });
  }
};

template <class T>
struct Member<std::reference_wrapper<T>> {
  static constexpr bool holds = Module<T>;
  static constexpr bool known() { return holds; }
  static void visit(Visitor& visitor, std::string_view name, std::reference_wrapper<T>& reference) {
    if constexpr (holds) {
      visitor.back(name, &reference.get(),
                   [&reference](const Visitor::ModulePtr& module) { reference = static_cast<T&>(*module); });
    }
  }
};

template <Module M>
struct Member<std::weak_ptr<M>> : HandleMember {
  static void visit(Visitor& visitor, std::string_view name, std::weak_ptr<M>& pointer) {
    const std::shared_ptr<M> held = pointer.lock();
    if (!held) return;
    visitor.back(name, held.get(),
                 [&pointer](const Visitor::ModulePtr& module) { pointer = std::static_pointer_cast<M>(module); });
  }
};

}  // namespace detail
}  // namespace ramet
