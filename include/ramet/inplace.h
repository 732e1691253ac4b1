/// Changes of torch::nn modules in place: tie, untie, assign.
///
/// A model is what `clone` takes as a source: a holder, a shared_ptr or a reference that is not const, or a session of
/// holders and shared pointers. Slots are set in the modules' dictionaries, and the listed members with them; each
/// throws PlanError, or UncloneableError for a class that lists no members, before anything is changed. Not to be
/// called while another thread uses the model.
#pragma once

#include <ramet/clone.h>

namespace ramet {
namespace detail {

template <class T>
concept Changeable = Cloneable<std::remove_cvref_t<T>> &&
    !(Module<std::remove_cvref_t<T>> && std::is_const_v<std::remove_reference_t<T>>);

void tie(const Source& model, const std::vector<std::string>& paths);
void untie(const Source& model, const std::vector<std::string>& paths);
void untie_all(const Source& model);
void assign(const Source& model, const std::vector<std::pair<std::string, at::Tensor>>& tensors);
void assign(const Source& model, const std::vector<at::Tensor>& tensors);

}  // namespace detail

/// Gives every later path's slots the very tensor, or module, of the first: `tie(net, {"embed.weight",
/// "head.weight"})`.
///
/// What a later path named is replaced under all its names, in the members too. Tensors must agree in shape, dtype and
/// device, modules in their exact type.
template <detail::Changeable T>
void tie(T&& model, const std::vector<std::string>& paths) {
  detail::tie(detail::source_of(model), paths);
}

/// Gives each slot a tensor of its own, or a module: a copy that is tied to nothing, without the gradient. Other slots
/// keep what they hold; members follow their own module's slot.
template <detail::Changeable T>
void untie(T&& model, const std::vector<std::string>& paths) {
  detail::untie(detail::source_of(model), paths);
}

/// Unties everything: `untie(net, true)`. The first name of each tie keeps what it holds.
template <detail::Changeable T, std::same_as<bool> B>
void untie(T&& model, B everything) {
  everything ? detail::untie_all(detail::source_of(model)) : detail::untie(detail::source_of(model), {});
}

/// Puts tensors into slots, by path, under every name of a tied one: also non-leaf ones, for differentiable steps.
///
/// Each is put in as it is, of the shape, dtype and device of what the slot holds (of any device where that is on
/// meta); but in a parameter slot, one without requires_grad becomes a tensor over the same memory that has the slot's.
template <detail::Changeable T>
void assign(T&& model, std::initializer_list<std::pair<std::string, at::Tensor>> tensors) {
  detail::assign(detail::source_of(model), std::vector(tensors));
}
template <detail::Changeable T, std::same_as<std::map<std::string, at::Tensor>> Map>
void assign(T&& model, const Map& tensors) {
  detail::assign(detail::source_of(model),
                 std::vector<std::pair<std::string, at::Tensor>>(tensors.begin(), tensors.end()));
}

/// The same, by the paths of `named_parameters()` or `named_buffers()`.
template <detail::Changeable T, std::same_as<torch::OrderedDict<std::string, at::Tensor>> Dict>
void assign(T&& model, const Dict& tensors) {
  detail::assign(detail::source_of(model), tensors.pairs());
}

/// The same for all parameters, in the order of `parameters()`, a tied one once.
template <detail::Changeable T>
void assign(T&& model, const std::vector<at::Tensor>& tensors) {
  detail::assign(detail::source_of(model), tensors);
}

}  // namespace ramet
