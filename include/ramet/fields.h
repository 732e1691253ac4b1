/// Member lists: what a clone of a class must rebind. One line a class.
///
///   struct NetImpl : torch::nn::Module {
///     torch::nn::Linear fc1{nullptr}, fc2{nullptr};
///     torch::Tensor scale;
///     RAMET_MODULE(NetImpl, fc1, fc2, scale)   // last in the class
///   };
///
/// Listed are members that refer to something: tensors, module handles, AnyModule, pointers to modules, shared_ptr to
/// state, and vectors, arrays, maps, pairs and optionals of these. Everything else is copied by the copy constructor.
/// A raw or weak pointer follows the clone of its module; to a module outside of what is cloned it stays as it is.
/// State that has a list itself (a struct with `ramet_fields`, a container of the above) is copied and then rebound.
#pragma once

#include <ramet/entries.h>

namespace ramet {
namespace detail {

/// Names a variable, so that it exists also in a class template, which makes only what is used.
template <const bool&>
struct Uses {};

}  // namespace detail

/// A list of members of `T`: pointers to members, and `base`, `keep`, `copy`, `via`.
template <class T, auto... entries>
struct fields {
  using self = T;
  static void visit([[maybe_unused]] T& module, [[maybe_unused]] Visitor& visitor) {
    (detail::Entry<entries>::visit(module, visitor), ...);
  }
};

/// In a list: all that `Base` lists.
template <class Base>
inline constexpr detail::Inherited<Base> base{};

/// In a list: the clone's member is the source's own, uncloned.
template <auto member>
inline constexpr detail::Kept<member> keep{};

/// In a list: a shared_ptr member is copied by `function(const State&) -> shared_ptr<State>`; without one by State's
/// copy constructor, also where State is polymorphic.
template <auto member, auto function = nullptr>
inline constexpr detail::Copied<member, function> copy{};

/// In a list: what `accessor(module)` returns a reference to, under a name.
template <detail::Text name, auto accessor>
inline constexpr detail::Reached<name, accessor> via{};

/// The list of a class that one cannot edit: specialise it as a `fields`, then `template struct ramet::enroll<T>;`.
template <class T>
struct describe {};

/// Makes `T` known to clone. RAMET_MODULE does this by itself.
template <class T>
struct enroll {
  static const bool done;
};
template <class T>
const bool enroll<T>::done = detail::enroll_type<T>();

}  // namespace ramet

#define RAMET_PARENS ()
#define RAMET_EXPAND(...) RAMET_EXPAND3(RAMET_EXPAND3(RAMET_EXPAND3(RAMET_EXPAND3(__VA_ARGS__))))
#define RAMET_EXPAND3(...) RAMET_EXPAND2(RAMET_EXPAND2(RAMET_EXPAND2(RAMET_EXPAND2(__VA_ARGS__))))
#define RAMET_EXPAND2(...) RAMET_EXPAND1(RAMET_EXPAND1(RAMET_EXPAND1(RAMET_EXPAND1(__VA_ARGS__))))
#define RAMET_EXPAND1(...) __VA_ARGS__
#define RAMET_EACH(T, member, ...) , &T::member __VA_OPT__(RAMET_EACH_AGAIN RAMET_PARENS(T, __VA_ARGS__))
#define RAMET_EACH_AGAIN() RAMET_EACH
#define RAMET_POINTERS(T, ...) __VA_OPT__(RAMET_EXPAND(RAMET_EACH(T, __VA_ARGS__)))

/// The member list of a class, last in its body: RAMET_MODULE(NetImpl, fc1, fc2). Up to 64 members, private ones too.
#define RAMET_MODULE(T, ...)                                                   \
 public:                                                                       \
  using ramet_fields = ::ramet::fields<T RAMET_POINTERS(T, __VA_ARGS__)>;      \
  static inline const bool ramet_enrolled = ::ramet::detail::enroll_type<T>(); \
  using ramet_uses = ::ramet::detail::Uses<ramet_enrolled>;
