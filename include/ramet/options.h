/// Rules for a clone, in the manner of LibTorch's options: fluent, and given as the last argument.
#pragma once

#include <ramet/members.h>
#include <ramet/rules.h>

#include <initializer_list>
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

/// What a rule applies to: `true`, a kind, a type, a path or a glob, or a module or tensor of the source.
class Selector {
 public:
  /// A module, a tensor or shared state, by identity.
  struct Object {
    const void* identity;
    std::string text;
  };
  using Value = std::variant<bool, Kind, TypeSelector, std::string, Object>;

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

/// The rules of one clone. The narrower rule wins, tied tensors move together; without rules everything is copied.
class CloneOptions {
 public:
  using Selectors = std::initializer_list<Selector>;

  /// Tensors that the clone gets copies of, which is the default.
  CloneOptions& copy(Selector where) { return mode(core::Mode::copy, {std::move(where)}); }
  CloneOptions& copy(Selectors where) { return mode(core::Mode::copy, where); }

  /// Tensors that the clone holds as the source's own: values and gradients are the same.
  CloneOptions& share(Selector where) { return mode(core::Mode::share, {std::move(where)}); }
  CloneOptions& share(Selectors where) { return mode(core::Mode::share, where); }

  /// Slots that hold the source's own object, uncloned: a module with all beneath it, a tensor, shared state. Exact
  /// paths, globs and objects.
  CloneOptions& keep(Selector where) { return keep({std::move(where)}); }
  CloneOptions& keep(Selectors where) {
    keeps_.insert(keeps_.end(), where.begin(), where.end());
    return *this;
  }

  const std::vector<std::pair<core::Mode, Selector>>& modes() const { return modes_; }
  const std::vector<Selector>& keeps() const { return keeps_; }

 private:
  CloneOptions& mode(core::Mode mode, Selectors where) {
    for (const Selector& selector : where) modes_.emplace_back(mode, selector);
    return *this;
  }

  std::vector<std::pair<core::Mode, Selector>> modes_;
  std::vector<Selector> keeps_;
};

}  // namespace ramet
