/// Members that own through a shared_ptr: a module, or state that is copied once for all that hold it.
#pragma once

#include <ramet/members.h>

namespace ramet::detail {

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
  if (!pointer) return visitor.empty(name);
  visitor.state(name, pointer, state_type<State, copy>, [&pointer](const Visitor::StatePtr& made) {
    pointer = std::const_pointer_cast<State>(std::static_pointer_cast<const State>(made));
  });
}

/// Null for what has no copy constructor: such state is kept.
template <class State>
std::shared_ptr<State> copy_constructed(const State& state) {
  if constexpr (std::is_copy_constructible_v<State>) {
    return std::make_shared<State>(state);
  } else {
    return nullptr;
  }
}

template <class T>
struct Member<std::shared_ptr<T>> {
  static constexpr bool holds = true;
  static constexpr bool known() {
    static_assert(Module<T> || std::is_copy_constructible_v<T>,
                  "ramet: a shared_ptr member's type cannot be copied: write ramet::keep<&Class::member> in the "
                  "member list to share it with the source, or ramet::copy<&Class::member, function>");
    static_assert(Module<T> || !std::is_polymorphic_v<T> || std::is_final_v<T>,
                  "ramet: a shared_ptr member's type is polymorphic, so that copying it could slice it: write "
                  "ramet::keep<&Class::member> or ramet::copy<&Class::member, function> in the member list");
    return true;
  }
  static void visit(Visitor& visitor, std::string_view name, std::shared_ptr<T>& pointer) {
    if constexpr (Module<T>) {
      if (!pointer) return visitor.empty(name);
      visitor.module(name, pointer,
                     [&pointer](const Visitor::ModulePtr& module) { pointer = std::static_pointer_cast<T>(module); });
    } else {
      visit_state<T, &copy_constructed<T>>(visitor, name, pointer);
    }
  }
};

}  // namespace ramet::detail
