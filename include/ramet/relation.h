/// How two models relate, path by path: what they share, what they alias, and what is only equal.
///
/// Input: two Graphs. Output: a Relation, which keeps names and words and nothing of the models. Reads the values of
/// tensors that are neither shared nor aliased, in place; changes nothing. Safe to call from several threads at once.
#pragma once

#include <ramet/report.h>

namespace ramet {
namespace core {

/// Whether two tensors are equal, where only a front can tell.
using Equal = std::function<bool(const at::Tensor& a, const at::Tensor& b)>;

}  // namespace core

/// One line of a relation. The words of a path that both sides have:
/// - "shared": the same tensor object;
/// - "aliased": two tensors that have an element's bytes in common;
/// - "lazy": the same bytes, until either side writes;
/// - "equal": the same shape, dtype and values (a NaN equals a NaN of the same bits; meta tensors have no values);
/// - "different": anything else, also where the other side holds None or something that is no tensor.
/// Of one that only one side has: "only_a", "only_b".
struct RelationRow {
  std::string path;
  std::string word;
};

/// A row for every tensor slot that either side has, in walk order of a.
///
/// A slot has one row, by the first path that leads to it; if one side ties what the other does not, a row for every
/// pair of slots. Slots that hold None on both sides have none. Sparse tensors are compared by their parts; quantized
/// ones and others that are no plain view of bytes by `at::equal` where that works, else they are different.
class Relation {
 public:
  /// `equal_wrappers` is asked for two tensors, one of which is a wrapper of Python's; without it they are different.
  Relation(const core::Graph& a, const core::Graph& b, const core::Equal& equal_wrappers = {});

  std::size_t size() const { return rows_.size(); }
  auto begin() const { return rows_.begin(); }
  auto end() const { return rows_.end(); }

  /// The word of a tensor slot, by any path that both sides have. Throws PlanError for a path that only one side has
  /// (and says which), that neither has (with the nearest names), or that leads to no tensor.
  std::string operator[](std::string_view path) const;

  /// The paths of the rows with that word, in walk order.
  std::vector<std::string> shared() const { return paths("shared"); }
  std::vector<std::string> aliased() const { return paths("aliased"); }
  std::vector<std::string> lazy() const { return paths("lazy"); }
  std::vector<std::string> equal() const { return paths("equal"); }
  std::vector<std::string> different() const { return paths("different"); }
  std::vector<std::string> only_a() const { return paths("only_a"); }
  std::vector<std::string> only_b() const { return paths("only_b"); }

  /// Ties that only one side has: no tie of the other has the same set of names.
  const std::vector<Tie>& ties_a() const { return ties_a_; }
  const std::vector<Tie>& ties_b() const { return ties_b_; }

 private:
  struct Names;
  std::vector<std::string> paths(std::string_view word) const;

  std::vector<RelationRow> rows_;
  std::vector<Tie> ties_a_, ties_b_;
  std::shared_ptr<const Names> names_;
};

/// Prints as a table.
std::ostream& operator<<(std::ostream& out, const Relation& relation);

namespace core {

/// A module or a tensor that two graphs both hold, or a tensor of each with bytes in common.
struct Common {
  TieKind kind = TieKind::tensor;
  NodeId a = none;
  NodeId b = none;
};

/// All that two graphs have in common, whatever its paths; modules first, then tensors. Reads no tensor data.
std::vector<Common> in_common(const Graph& a, const Graph& b);

}  // namespace core
}  // namespace ramet
