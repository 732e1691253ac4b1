/// The module types that clone knows, by their exact run-time type.
#pragma once

#include <ramet/members.h>

#include <typeinfo>

namespace ramet::detail {

/// What clone must be able to do with a module of one type.
struct ModuleType {
  /// A copy of one level: handles still refer to the source's tensors and modules. Null for an abstract class.
  std::shared_ptr<torch::nn::Module> (*copy)(const torch::nn::Module& module) = nullptr;
  /// Shows the listed members.
  void (*visit)(torch::nn::Module& module, Visitor& visitor) = nullptr;
  /// Calls its reset_parameters, else its _reset_parameters; null if it has neither.
  void (*initialise)(torch::nn::Module& module) = nullptr;
  /// Rebinds an AnyModule made with this static type; null if an AnyModule cannot hold it.
  void (*rebind)(torch::nn::AnyModule& any, const std::shared_ptr<torch::nn::Module>& module) = nullptr;
};

/// Adds a type, or replaces what was known of it. Returns true. Safe to call from several threads.
bool add_type(const std::type_info& type, const ModuleType& description);

/// What is known of a type; null if nothing is. Safe to call from several threads.
const ModuleType* find_type(const std::type_info& type);

/// The same; throws UncloneableError, with the line to add, if nothing is known.
const ModuleType& type_of(const std::type_info& type);

/// "type 'NetImpl' lists no members; add RAMET_MODULE(NetImpl, ...) ..."
std::string unlisted(const std::type_info& type);

template <class R, class C, class... Args>
constexpr bool any_can_call(R (C::*)(Args...)) {
  return !std::is_void_v<R> &&
         (... && (!std::is_lvalue_reference_v<Args> || std::is_const_v<std::remove_reference_t<Args>>));
}
template <class T>
concept AnyCanHold = requires {
  requires any_can_call(&T::forward);
  requires std::is_base_of_v<torch::nn::Module, T>;
};

template <class T>
concept CastFromModule = requires(const torch::nn::Module& module) {
  static_cast<const T&>(module);
};

template <class T>
ModuleType module_type() {
  static_assert(Module<T>, "ramet: only classes derived from torch::nn::Module are enrolled");
  static_assert(Described<T>,
                "ramet: no member list: write RAMET_MODULE(Class, members...) last in the class, or "
                "specialise ramet::describe<Class>");
  static_assert(CastFromModule<T>,
                "ramet: the class derives from torch::nn::Module virtually, or twice: a clone cannot get at it from "
                "its module");
  static_assert(std::is_abstract_v<T> || std::is_copy_constructible_v<T>,
                "ramet: the class has no copy constructor, by which a clone copies plain members");
  ModuleType result;
  if constexpr (!std::is_abstract_v<T>) {
    result.copy = [](const torch::nn::Module& module) -> std::shared_ptr<torch::nn::Module> {
      return std::make_shared<T>(static_cast<const T&>(module));
    };
  }
  result.visit = [](torch::nn::Module& module, Visitor& visitor) { show_listed(static_cast<T&>(module), visitor); };
  if constexpr (requires(T & module) { module.reset_parameters(); }) {
    result.initialise = [](torch::nn::Module& module) { static_cast<T&>(module).reset_parameters(); };
  } else if constexpr (requires(T & module) { module._reset_parameters(); }) {
    result.initialise = [](torch::nn::Module& module) { static_cast<T&>(module)._reset_parameters(); };
  }
  if constexpr (AnyCanHold<T>) {
    result.rebind = [](torch::nn::AnyModule& any, const std::shared_ptr<torch::nn::Module>& module) {
      any = torch::nn::AnyModule(std::static_pointer_cast<T>(module));
    };
  }
  return result;
}

template <class T>
bool enroll_type() {
  return add_type(typeid(T), module_type<T>());
}

}  // namespace ramet::detail
