/// The registry of module types, which knows LibTorch's own from the start.
#include <c10/util/Type.h>
#include <cxxabi.h>
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

/// A type's name as source code has it.
std::string spelled(const std::type_info& type) {
  std::string name = c10::demangle(type.name());
  constexpr std::string_view unnamed = "(anonymous namespace)::";
  for (std::size_t at = 0; (at = name.find(unnamed)) != name.npos;) name.erase(at, unnamed.size());
  return name;
}

std::string without_arguments(const std::string& name) {
  std::string result;
  int depth = 0;
  for (const char c : name) {
    if (c == '<') ++depth;
    if (depth == 0) result += c;
    if (c == '>') --depth;
  }
  return result;
}

/// The nearest base that is known and may have members; null if there is none.
const std::type_info* listed_base(const std::type_info& type) {
  std::vector<const std::type_info*> bases;
  if (const auto* derived = dynamic_cast<const abi::__si_class_type_info*>(&type)) {
    bases.push_back(derived->__base_type);
  } else if (const auto* mixed = dynamic_cast<const abi::__vmi_class_type_info*>(&type)) {
    for (unsigned i = 0; i < mixed->__base_count; ++i) bases.push_back(mixed->__base_info[i].__base_type);
  }
  for (const std::type_info* base : bases) {
    if (*base == typeid(torch::nn::Module)) continue;
    if (find_type(*base) != nullptr) return base;
    if (const std::type_info* known = listed_base(*base)) return known;
  }
  return nullptr;
}

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
  const std::string plain = without_arguments(spelled(type)), inner = plain.substr(plain.rfind(':') + 1);
  const std::string moved =
      plain.find(')') == plain.npos ? "" : "move it out of its function, where it can have no list, and ";
  const std::string message = "type '" + name + "' lists no members, so a clone could not rebind them; " + moved;
  const std::type_info* const base = listed_base(type);
  if (base == nullptr) {
    return message + "write RAMET_MODULE(" + inner + ", <its tensors, modules and shared state>) last in the class";
  }
  return message + "write using ramet_fields = ramet::fields<" + inner + ", ramet::base<" + spelled(*base) + ">, &" +
         inner + "::<each tensor, module and shared state>>; last in the class, and template struct ramet::enroll<" +
         (moved.empty() ? spelled(type) : inner) + ">; after it, outside of any namespace";
}

void Member<torch::nn::AnyModule>::visit(Visitor& visitor, std::string_view name, torch::nn::AnyModule& any) {
  if (any.is_empty()) return visitor.empty(name);
  // The static type it was made with, which is not always the module's own.
  const ModuleType* type = find_type(any.type_info());
  if (type == nullptr) return visitor.refuse(name, "an AnyModule whose static " + unlisted(any.type_info()));
  visitor.module(name, any.ptr(), [&any, type](const Visitor::ModulePtr& module) { type->rebind(any, module); });
}

}  // namespace ramet::detail
