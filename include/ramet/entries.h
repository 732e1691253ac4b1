/// The entries of a member list, and how each is shown to a Visitor: pointers to members, and what `base`, `keep`,
/// `copy` and `via` of fields.h make.
#pragma once

#include <ramet/containers.h>
#include <ramet/registry.h>
#include <ramet/state.h>

namespace ramet::detail {

/// The name of a member, from how the compiler spells a pointer to it.
template <auto member>
constexpr auto name_of() {
  std::string_view text = __PRETTY_FUNCTION__;  // "... [with auto member = &Net::fc1]"
  text.remove_prefix(text.rfind("::") + 2);
  return text.substr(0, text.find_first_of(");]"));
}

/// Computed by the compiler: name_of is slow.
template <auto member>
inline constexpr std::string_view name_v = name_of<member>();

template <auto member>
struct Kept {};
template <auto member, auto function>
struct Copied {};
template <class Base>
struct Inherited {};

template <std::size_t n>
struct Text {
  constexpr Text(const char (&text)[n]) { std::copy_n(text, n, value); }
  char value[n];
};
template <Text name, auto accessor>
struct Reached {};

template <class M>
void show_member(Visitor& visitor, std::string_view name, M& member) {
  if constexpr (std::is_const_v<M>) {
    static_assert(Member<M>::known(),
                  "ramet: a listed member is const, so that a clone cannot rebind it: drop the const");
  }
  Member<M>::visit(visitor, name, member);
}

template <class M>
void show_known_member(Visitor& visitor, std::string_view name, M& member) {
  static_assert(std::is_const_v<M> || Member<M>::known(),
                "ramet: a listed member is of a type that a clone cannot rebind: leave it out of the list if it is a "
                "plain value (the copy constructor copies it), give its struct a list of its own by ramet::fields, "
                "reach what is in it by ramet::via, or share it with the source by ramet::keep");
  show_member(visitor, name, member);
}

/// One entry of a list: a pointer to a member, or one of the policies below.
template <auto entry>
struct Entry {
  template <class T>
  static void visit(T& module, Visitor& visitor) {
    show_known_member(visitor, name_v<entry>, module.*entry);
  }
};

template <auto member, Kept<member> entry>
struct Entry<entry> {
  template <class T>
  static void visit(T& module, Visitor& visitor) {
    visitor.keeping = true;
    show_member(visitor, name_v<member>, module.*member);
    visitor.keeping = false;
  }
};

template <auto member, auto function, Copied<member, function> entry>
struct Entry<entry> {
  template <class T>
  static void visit(T& module, Visitor& visitor) {
    using State = typename std::remove_reference_t<decltype(module.*member)>::element_type;
    if constexpr (function == nullptr) {
      visit_state<State, &copy_constructed<State>>(visitor, name_v<member>, module.*member);
    } else {
      visit_state<State, function>(visitor, name_v<member>, module.*member);
    }
  }
};

template <class Base, Inherited<Base> entry>
struct Entry<entry> {
  static void visit(Base& module, Visitor& visitor) {
    static_assert(
        Described<Base> || Module<Base>,
        "ramet: ramet::base names a class that has no list and is no module: give it a list by ramet::fields");
    if constexpr (Described<Base>) {
      show_listed(module, visitor);
    } else {
      type_of(typeid(Base)).visit(module, visitor);
    }
  }
};

template <Text name, auto accessor, Reached<name, accessor> entry>
struct Entry<entry> {
  template <class T>
  static void visit(T& module, Visitor& visitor) {
    show_known_member(visitor, name.value, accessor(module));
  }
};

}  // namespace ramet::detail
