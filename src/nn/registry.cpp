/// The registry of module types, which knows LibTorch's own from the start.
#include <c10/util/Type.h>
#include <ramet/errors.h>
#include <ramet/registry.h>

#include <mutex>
#include <shared_mutex>
#include <typeindex>

#include "nn/torch_types.h"

namespace ramet::detail {
namespace {

struct Registry {
  std::shared_mutex mutex;
  std::unordered_map<std::type_index, ModuleType> types;
};

// Function-local, so that a class enrolled by another library's initialisers finds it; never destroyed.
Registry& registry() {
  static auto* const instance = new Registry;
  return *instance;
}

const bool torch_types_known = nn::enroll_torch_types();

}  // namespace

bool add_type(const std::type_info& type, const ModuleType& description) {
  const std::unique_lock lock(registry().mutex);
  registry().types[type] = description;
  return true;
}

const ModuleType* find_type(const std::type_info& type) {
  const std::shared_lock lock(registry().mutex);
  const auto it = registry().types.find(type);
  return it == registry().types.end() ? nullptr : &it->second;
}

const ModuleType& type_of(const std::type_info& type) {
  const ModuleType* found = find_type(type);
  if (found == nullptr) throw UncloneableError("clone: " + unlisted(type));
  return *found;
}

std::string unlisted(const std::type_info& type) {
  const std::string name = c10::demangle(type.name());
  return "type '" + name + "' lists no members, so a clone could not rebind them; write RAMET_MODULE(" +
         name.substr(name.rfind(':') + 1) + ", <its tensors, modules and shared state>) last in the class";
}

void Member<torch::nn::AnyModule>::visit(Visitor& visitor, std::string_view name, torch::nn::AnyModule& any) {
  if (any.is_empty()) return;
  visitor.module(name, any.ptr(), [&any](const Visitor::ModulePtr& module) {
    // The static type it was made with, which is not always the module's own.
    const ModuleType& type = type_of(any.type_info());
    type.rebind(any, module);
  });
}

}  // namespace ramet::detail
