/// Lazy clones of tensors, and what it is for one to be apart from its source.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <ramet/materialize.h>
#include <ramet/relation.h>

#include "hand_made.h"

namespace ramet::core {

inline HandMade numbered(const std::vector<at::Tensor>& tensors) {
  std::vector<std::pair<std::string, at::Tensor>> named;
  for (const at::Tensor& tensor : tensors) named.emplace_back("t" + std::to_string(named.size()), tensor);
  return flat(named);
}

/// Everything is lazy.
inline Rules all_lazy() {
  Rules rules;
  rules.modes.push_back({Mode::lazy, select_all("True")});
  return rules;
}

inline Plan lazy_plan(const Graph& graph) { return plan(graph, catalog(graph), all_lazy()); }

inline std::vector<at::Tensor> lazily(const std::vector<at::Tensor>& tensors) {
  const HandMade made = numbered(tensors);
  return materialize(made.graph, lazy_plan(made.graph), 1)[0];
}

inline at::Tensor lazily(const at::Tensor& tensor) { return lazily(std::vector{tensor})[0]; }

inline std::vector<at::Tensor> copied(const std::vector<at::Tensor>& tensors) {
  const HandMade made = numbered(tensors);
  return materialize(made.graph, plan(made.graph, catalog(made.graph), {}), 1)[0];
}

/// Where a tensor's bytes are. Asking writes nothing.
inline const void* place(const at::Tensor& tensor) { return tensor.const_data_ptr(); }

/// The word of a relation.
inline std::string word(const at::Tensor& a, const at::Tensor& b) {
  return ramet::Relation(flat({{"a", a}}).graph, flat({{"a", b}}).graph)["a"];
}

}  // namespace ramet::core
