/// What a rule applies to: everything, a kind, a type, a path or a glob, a module or tensor of the source, a predicate.
#pragma once

#include <ramet/members.h>
#include <ramet/rules.h>

#include <variant>

namespace ramet {

/// All tensors of one kind: `ramet::parameters`, `ramet::buffers`.
struct Kind {
  core::SlotKind kind;
  const char* text;
};
inline constexpr Kind parameters{core::SlotKind::parameter, "ramet::parameters"};
inline constexpr Kind buffers{core::SlotKind::buffer, "ramet::buffers"};

/// All modules of one type: `ramet::type<torch::nn::LayerNormImpl>()`.
struct TypeSelector {
  bool (*matches)(const torch::nn::Module& module);
  std::string text;
};

/// Names every tensor beneath modules of type `T` or of a class derived from it.
template <detail::Module T>
TypeSelector type() {
  return {[](const torch::nn::Module& module) { return dynamic_cast<const T*>(&module) != nullptr; },
          "ramet::type<" + c10::demangle(typeid(T).name()) + ">()"};
}

/// Whether a rule names a tensor slot, asked with its first path.
using Predicate = std::function<bool(std::string_view path, const at::Tensor& tensor)>;

/// What a rule applies to: `true`, a kind, a type, a path or a glob, a module or tensor of the source, or a predicate.
class Selector {
 public:
  /// A module, a tensor or shared state, by identity.
  struct Object {
    const void* identity;
    std::string text;
  };
  using Value = std::variant<bool, Kind, TypeSelector, std::string, Object, Predicate>;

  template <std::same_as<bool> B>
  Selector(B everything) : value_(everything) {}
  Selector(Kind kind) : value_(kind) {}
  Selector(TypeSelector type) : value_(std::move(type)) {}
  Selector(const char* path) : value_(std::string(path)) {}
  Selector(std::string path) : value_(std::move(path)) {}
  Selector(const at::Tensor& tensor) : value_(Object{tensor.unsafeGetTensorImpl(), "<a tensor>"}) {}
  Selector(const torch::nn::Module& module) : value_(Object{&module, "<a " + module.name() + ">"}) {}
  template <detail::Holder H>
  Selector(const H& holder) : Selector(static_cast<const torch::nn::Module&>(*holder)) {}
  template <class T>
  Selector(const std::shared_ptr<T>& object) : value_(Object{identity(object.get()), "<an object>"}) {}

  template <class F>
  requires std::is_invocable_r_v<bool, const F&, std::string_view, const at::Tensor&> Selector(F predicate)
      : value_(Predicate(std::move(predicate))) {}

  const Value& value() const { return value_; }

 private:
  template <class T>
  static const void* identity(const T* object) {
    if constexpr (detail::Module<T>) {
      return static_cast<const torch::nn::Module*>(object);
    } else {
      return object;
    }
  }

  Value value_;
};

}  // namespace ramet
