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
  // A lock and the hash of a type's name take a tenth of a clone that shares everything. What is known stays where it
  // is.
  thread_local std::array<std::pair<const std::type_info*, const ModuleType*>, 64> found_before{};
  auto& [known, found] = found_before[(reinterpret_cast<std::uintptr_t>(&type) >> 4) % found_before.size()];
  if (known == &type) return found;
  const std::shared_lock lock(registry().mutex);
  const auto it = registry().types.find(type);
  if (it == registry().types.end()) return nullptr;
  known = &type;
  return found = &it->second;
}

const ModuleType& type_of(const std::type_info& type) {
  const ModuleType* found = find_type(type);
  if (found == nullptr) throw UncloneableError("clone: " + unlisted(type));
  return *found;
}

std::string unlisted(const std::type_info& type) {
  const std::string name = c10::demangle(type.name());
  // Within a template its name stands without arguments.
  const std::string plain = name.substr(0, name.find('<'));
  return "type '" + name + "' lists no members, so a clone could not rebind them; write RAMET_MODULE(" +
         plain.substr(plain.rfind(':') + 1) + ", <its tensors, modules and shared state>) last in the class";
}

void Member<torch::nn::AnyModule>::visit(Visitor& visitor, std::string_view name, torch::nn::AnyModule& any) {
  if (any.is_empty()) return visitor.empty(name);
  // The static type it was made with, which is not always the module's own.
  const ModuleType* type = find_type(any.type_info());
  if (type == nullptr) return visitor.refuse(name, "an AnyModule whose static " + unlisted(any.type_info()));
  visitor.module(name, any.ptr(), [&any, type](const Visitor::ModulePtr& module) { type->rebind(any, module); });
}

}  // namespace ramet::detail
