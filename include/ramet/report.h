/// Ties and plans as users read them: by path, and printed as tables. Both fronts hand these out.
///
/// Each keeps the names of its model and nothing else: no tensor, no module.
#pragma once

#include <ramet/plan.h>

#include <iosfwd>
#include <memory>

namespace ramet {

/// Slots that hold one module, one tensor, or tensors with bytes in common.
struct Tie {
  std::string kind;                ///< "module", "tensor" or "storage".
  std::vector<std::string> names;  ///< At least two, in walk order; one path a slot, its first.
  int64_t nbytes = 0;              ///< The bytes in common; for a module, of all its tensors.
};

/// All ties of a model, in walk order: a sequence of Tie. Safe to read from several threads at once.
class Catalog {
 public:
  /// Lists the ties of a graph, of which it keeps the names.
  explicit Catalog(core::Graph graph);

  std::size_t size() const { return by_slot().size(); }
  bool empty() const { return by_slot().empty(); }
  auto begin() const { return ties().begin(); }
  auto end() const { return ties().end(); }
  const Tie& operator[](std::size_t index) const { return ties().at(index); }

  /// The tie of a name, by any of its paths; null if what it names is not tied. Throws PlanError, with the nearest
  /// names, if the model has no such path.
  const Tie* find(std::string_view path) const;

  /// The tie of a name. Throws PlanError also if what it names is not tied.
  const Tie& operator[](std::string_view path) const;

  /// What the names are made from when they are first asked for; a front may put them in a form of its own instead.
  const std::vector<core::Tie>& by_slot() const;
  const core::Paths& paths() const;

 private:
  struct Names;
  const std::vector<Tie>& ties() const;
  std::shared_ptr<const Names> names_;
};

/// One line of a plan.
struct PlanRow {
  std::string path;    ///< A tensor slot's, or a kept slot's; its first.
  std::string mode;    ///< "copy", "share", ..., or "keep".
  std::string why;     ///< The rule that decided, as in `share='encoder'`; "default" if none did.
  int64_t nbytes = 0;  ///< What will be allocated for it; 0 where another row's storage already holds it.
};

/// What a clone would do, without doing it: a row for every tensor slot, in walk order.
class Plan {
 public:
  Plan(const core::Graph& graph, const core::Rules& rules, const core::Plan& plan);

  std::size_t size() const { return rows_.size(); }
  auto begin() const { return rows_.begin(); }
  auto end() const { return rows_.end(); }
  const PlanRow& operator[](std::size_t index) const { return rows_.at(index); }

  /// The row of a tensor slot, by its first path; null if there is none.
  const PlanRow* find(std::string_view path) const;

  /// All bytes that will be allocated.
  int64_t nbytes() const { return nbytes_; }

 private:
  std::vector<PlanRow> rows_;
  std::vector<uint32_t> by_path_;
  int64_t nbytes_ = 0;
};

/// Print as tables.
std::ostream& operator<<(std::ostream& out, const Catalog& catalog);
std::ostream& operator<<(std::ostream& out, const Plan& plan);

}  // namespace ramet
