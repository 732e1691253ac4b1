/// Containers, which hold their modules in a private vector or dictionary beside the children, in the same order.
#include <torch/nn/modules/container/functional.h>
#include <torch/nn/modules/container/moduledict.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/container/parameterdict.h>
#include <torch/nn/modules/container/parameterlist.h>
#include <torch/nn/modules/container/sequential.h>

#include "nn/access.h"
#include "nn/torch_types.h"

using torch::nn::FunctionalImpl;
using torch::nn::ModuleDictImpl;
using torch::nn::ModuleListImpl;
using torch::nn::ParameterDictImpl;
using torch::nn::ParameterListImpl;
using torch::nn::SequentialImpl;

namespace {

template <class Container>
struct ElementsOf {
  using self = Container;
  static void visit(Container& container, ramet::Visitor& visitor) {
    std::size_t index = 0;
    const auto& children = ramet::detail::Dictionaries::children(container);
    for (auto& element : container) {
      const std::string& name = children[index++].key();
      if constexpr (std::is_same_v<Container, ModuleDictImpl>) {
        show(visitor, name, element.value());
      } else {
        show(visitor, name, element);
      }
    }
  }

  template <class T>
  static void show(ramet::Visitor& visitor, const std::string& name, T& element) {
    ramet::detail::Member<T>::visit(visitor, name, element);
  }
};

}  // namespace

template <>
struct ramet::describe<SequentialImpl> : ElementsOf<SequentialImpl> {};
template <>
struct ramet::describe<ModuleListImpl> : ElementsOf<ModuleListImpl> {};
template <>
struct ramet::describe<ModuleDictImpl> : ElementsOf<ModuleDictImpl> {};
template <>
struct ramet::describe<ParameterListImpl> : ramet::fields<ParameterListImpl> {};
template <>
struct ramet::describe<ParameterDictImpl> : ramet::fields<ParameterDictImpl> {};
// The function is copied; what it captured stays shared.
template <>
struct ramet::describe<FunctionalImpl> : ramet::fields<FunctionalImpl> {};
template <>
struct ramet::describe<torch::nn::Module> : ramet::fields<torch::nn::Module> {};

void ramet::nn::enroll_containers() {
  enroll_all<SequentialImpl, ModuleListImpl, ModuleDictImpl, ParameterListImpl, ParameterDictImpl, FunctionalImpl,
             torch::nn::Module>();
}
