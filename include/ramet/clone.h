/// Clones of torch::nn modules: one, several in a session, or many at once; and what a clone would do.
///
/// A source is a holder (`Net`), a `std::shared_ptr<NetImpl>` or a `const NetImpl&`; a session is a tuple, pair, vector
/// or map of these, of tensors, of optimizers (see optimizers.h) and of sessions. Nothing is shared unless the options
/// say so: every tensor is copied with its dtype, device and strides, every tie within the source (across a session's
/// members too) is a tie in the clone. `reset()` is never called, nothing is initialised, the random state does not
/// advance, the source never changes.
///
/// Throws PlanError for rules that cannot be carried out, UncloneableError for a class that lists no members; both
/// before anything is allocated. One source may be cloned from several threads at once.
#pragma once

#include <ramet/handles.h>
#include <ramet/options.h>
#include <ramet/relation.h>

namespace ramet {
namespace detail {

/// `n` clones of the source: for each, what became of its members, depth first.
std::vector<std::vector<Made>> clone(const Source& source, std::size_t n, const CloneOptions& options);
Catalog catalog(const Source& source);
Plan plan(const Source& source, const CloneOptions& options);
Relation relation(const Source& a, const Source& b);

}  // namespace detail

/// Clones a module, or the modules of a session. Returns the type of the source (a shared_ptr for a `const NetImpl&`).
template <detail::Cloneable T>
auto clone(const T& source, const CloneOptions& options = {}) {
  return detail::made(source, detail::clone(detail::source_of(source), 1, options)[0]);
}

/// Makes `n` clones at once, from one look at the source.
template <detail::Cloneable T>
auto clones(const T& source, std::size_t n, const CloneOptions& options = {}) {
  std::vector<typename detail::Handle<T>::result> result;
  for (const auto& members : detail::clone(detail::source_of(source), n, options)) {
    result.push_back(detail::made(source, members));
  }
  return result;
}

/// Lists what is tied to what, and nothing that is not. Undescribed classes do not matter here.
template <detail::Cloneable T>
Catalog catalog(const T& source) {
  return detail::catalog(detail::source_of(source));
}

/// Says what a clone under these options would do, without allocating a tensor.
template <detail::Cloneable T>
Plan plan(const T& source, const CloneOptions& options = {}) {
  return detail::plan(detail::source_of(source), options);
}

/// Says what two models share, alias, or only equal, path by path. Undescribed classes do not matter here.
template <detail::Cloneable A, detail::Cloneable B>
Relation relation(const A& a, const B& b) {
  return detail::relation(detail::source_of(a), detail::source_of(b));
}

}  // namespace ramet
