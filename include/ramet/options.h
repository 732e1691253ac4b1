/// Rules for a clone, in the manner of LibTorch's options: fluent, and given as the last argument.
#pragma once

#include <ramet/selectors.h>

#include <initializer_list>

namespace ramet {

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

  /// Tensors that get a tensor of their own over the source's memory: the same values, a gradient of the clone's own.
  CloneOptions& alias(Selector where) { return mode(core::Mode::alias, {std::move(where)}); }
  CloneOptions& alias(Selectors where) { return mode(core::Mode::alias, where); }

  /// Tensors that get the source's memory until either side first writes to it, and then their own: copy on write. What
  /// cannot be is copied: see docs/rules.md.
  CloneOptions& lazy(Selector where) { return mode(core::Mode::lazy, {std::move(where)}); }
  CloneOptions& lazy(Selectors where) { return mode(core::Mode::lazy, where); }

  /// Tensors that get copies which autograd links to the source's: what flows back to them goes on to those. They are
  /// no leaves: step with `ramet::assign`, not with an optimizer. What does not require grad is copied.
  CloneOptions& differentiable(Selector where) { return mode(core::Mode::differentiable, {std::move(where)}); }
  CloneOptions& differentiable(Selectors where) { return mode(core::Mode::differentiable, where); }

  /// Tensors that get fresh values, by the `reset_parameters()` (else `_reset_parameters()`) of the modules that own
  /// them, or by `initializer`. All names of a tied tensor must be named.
  CloneOptions& init(Selector where) { return mode(core::Mode::init, {std::move(where)}); }
  CloneOptions& init(Selectors where) { return mode(core::Mode::init, where); }

  /// What initialises a module for `init`, in place of its own `reset_parameters()`. Called with a scratch copy of each
  /// module that owns a tensor to be initialised, the inner ones first; what else it writes is dropped.
  CloneOptions& initializer(std::function<void(torch::nn::Module&)> initialise) {
    initializer_ = std::move(initialise);
    return *this;
  }

  /// Tensors that get no values: they stand on the meta device, ties included.
  CloneOptions& meta(Selector where) { return mode(core::Mode::meta, {std::move(where)}); }
  CloneOptions& meta(Selectors where) { return mode(core::Mode::meta, where); }

  /// Slots that hold the source's own object, uncloned: a module with all beneath it, a tensor, shared state. Exact
  /// paths, globs and objects.
  CloneOptions& keep(Selector where) { return keep({std::move(where)}); }
  CloneOptions& keep(Selectors where) {
    keeps_.insert(keeps_.end(), where.begin(), where.end());
    return *this;
  }

  /// Tensors of the clone's own that shall not require grad; `true`: all that are its own.
  CloneOptions& freeze(Selector where) { return freeze({std::move(where)}); }
  CloneOptions& freeze(Selectors where) {
    freezes_.insert(freezes_.end(), where.begin(), where.end());
    return *this;
  }

  /// Tied slots that get a tensor (a module) of their own: paths and globs, or `true` for every tie. What would be
  /// shared or aliased there is copied.
  CloneOptions& untie(Selector where) { return untie({std::move(where)}); }
  CloneOptions& untie(Selectors where) {
    unties_.insert(unties_.end(), where.begin(), where.end());
    return *this;
  }

  /// Whether what is copied, or lazy, gets a copy of its gradient too.
  CloneOptions& grads(bool copied) {
    grads_ = copied;
    return *this;
  }

  /// Where the clone's own parameters and buffers go, with what is tied to them, on the way.
  CloneOptions& device(at::Device device) {
    device_ = device;
    return *this;
  }

  /// What they become if they are floating or complex, as in `Module::to`.
  CloneOptions& dtype(at::ScalarType dtype) {
    dtype_ = dtype;
    return *this;
  }

  /// A module that the source is a part of, which must outlive the call: what is registered elsewhere in it stays its
  /// own where the source refers to it.
  CloneOptions& within(const torch::nn::Module& root) {
    within_ = &root;
    return *this;
  }
  template <detail::Holder H>
  CloneOptions& within(const H& root) {
    return within(static_cast<const torch::nn::Module&>(*root));
  }

  /// Whether to make sure that the clone has nothing left of the source's that no rule gives it: a member that its
  /// class's list forgets. Looks at use counts, so raw and weak pointers are not seen. On where NDEBUG is not defined.
  CloneOptions& check(bool on) {
    check_ = on;
    return *this;
  }

  const std::vector<std::pair<core::Mode, Selector>>& modes() const { return modes_; }
  const std::vector<Selector>& keeps() const { return keeps_; }
  const std::vector<Selector>& freezes() const { return freezes_; }
  const std::vector<Selector>& unties() const { return unties_; }
  bool grads() const { return grads_; }
  const std::optional<at::Device>& device() const { return device_; }
  const std::optional<at::ScalarType>& dtype() const { return dtype_; }
  const std::function<void(torch::nn::Module&)>& initializer() const { return initializer_; }
  const torch::nn::Module* within() const { return within_; }
  bool check() const { return check_; }

 private:
  CloneOptions& mode(core::Mode mode, Selectors where) {
    for (const Selector& selector : where) modes_.emplace_back(mode, selector);
    return *this;
  }

  std::vector<std::pair<core::Mode, Selector>> modes_;
  std::vector<Selector> keeps_, freezes_, unties_;
  bool grads_ = false;
  std::optional<at::Device> device_;
  std::optional<at::ScalarType> dtype_;
  std::function<void(torch::nn::Module&)> initializer_;
  const torch::nn::Module* within_ = nullptr;
#ifdef NDEBUG
  bool check_ = false;
#else
  bool check_ = true;
#endif
};

}  // namespace ramet
