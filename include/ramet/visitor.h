/// What a class's member list is shown to: once by the walk, which reads, and once a clone by rebuild, which writes.
#pragma once

#include <torch/nn/module.h>

#include <functional>
#include <memory>
#include <string_view>
#include <typeinfo>

namespace ramet {

class Visitor;

/// How state behind a shared_ptr is cloned; one for each type and way to copy it.
struct StateType {
  const std::type_info& type;
  std::shared_ptr<const void> (*copy)(const void* state);
  void (*show)(void* state, Visitor& visitor);  ///< Shows what a copy must rebind; null if there is nothing.
};

/// Gets every member that a clone must rebind, in the order of the list. Plain values never come here: the class's copy
/// constructor has copied them.
class Visitor {
 public:
  using ModulePtr = std::shared_ptr<torch::nn::Module>;
  using StatePtr = std::shared_ptr<const void>;

  virtual ~Visitor() = default;

  virtual void tensor(std::string_view name, at::Tensor& tensor) = 0;

  /// A handle that owns a module: `assign` rebinds it.
  virtual void module(std::string_view name, const ModulePtr& module,
                      const std::function<void(const ModulePtr&)>& assign) = 0;

  /// A pointer to a module that something else owns. It follows the clone of that module; where nothing of the source
  /// owns it, it stays as it is: a copy would have no owner.
  virtual void back(std::string_view name, const torch::nn::Module* module,
                    const std::function<void(const ModulePtr&)>& assign) = 0;

  /// A shared_ptr to state that is no module: copied once for all that hold it as this type.
  virtual void state(std::string_view name, const StatePtr& state, const StateType& type,
                     const std::function<void(const StatePtr&)>& assign) = 0;

  /// A container, or a described struct: `visit` shows what it holds. It must stay where it is until the clone is made.
  virtual void group(std::string_view name, const void* identity, const std::function<void(Visitor&)>& visit) = 0;

  /// A member that holds nothing now of what it could: only the walk gives it a slot.
  virtual void empty(std::string_view) {}

  /// A member that cannot be rebound, for a reason that only its value tells.
  virtual void refuse(std::string_view name, const std::string& reason) = 0;

  /// Set while the members shown are to be kept: the list says `ramet::keep`.
  bool keeping = false;
};

}  // namespace ramet
