/// Ties and plans by path, and their tables.
#include <ramet/errors.h>
#include <ramet/report.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <numeric>

#include "core/table.h"

namespace ramet {
namespace {

using core::none;

std::string human(int64_t bytes) {
  constexpr std::array<const char*, 5> units{"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < units.size()) value /= 1024, ++unit;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text.data();
}

}  // namespace

/// The model's names alone, so that a catalog can be asked by any path and holds nothing of the model.
struct Catalog::Names {
  explicit Names(core::Graph source) : graph(std::move(source)), paths(graph), tie_of(graph.nodes.size(), none) {}

  core::Graph graph;
  core::Paths paths;
  std::vector<core::Tie> by_slot;
  std::vector<uint32_t> tie_of;  // by NodeId
  mutable std::once_flag once;
  mutable std::vector<Tie> ties;
};

std::vector<Tie> named(const std::vector<core::Tie>& ties, const core::Paths& paths) {
  std::vector<Tie> result;
  result.reserve(ties.size());
  for (const core::Tie& tie : ties) {
    std::vector<std::string>& names =
        result.emplace_back(Tie{std::string(core::to_string(tie.kind)), {}, tie.nbytes}).names;
    names.reserve(tie.slots.size());
    for (const core::SlotId slot : tie.slots) names.push_back(paths.path(slot));
  }
  return result;
}

Catalog::Catalog(core::Graph graph) {
  const auto names = std::make_shared<Names>(std::move(graph));
  names->by_slot = core::catalog(names->graph, names->paths).ties;
  for (std::size_t tie = 0; tie < names->by_slot.size(); ++tie) {
    for (const core::SlotId slot : names->by_slot[tie].slots) {
      names->tie_of[names->graph.slots[slot].target] = static_cast<uint32_t>(tie);
    }
  }
  names->graph.tensors.clear();
  names_ = names;
}

const std::vector<core::Tie>& Catalog::by_slot() const { return names_->by_slot; }

const core::Paths& Catalog::paths() const { return names_->paths; }

const std::vector<Tie>& Catalog::ties() const {
  std::call_once(names_->once, [&] { names_->ties = named(names_->by_slot, names_->paths); });
  return names_->ties;
}

const Tie* Catalog::find(std::string_view path) const {
  const std::optional<core::Place> place = names_->paths.find(path);
  if (!place) {
    const std::string nearest = joined(names_->paths.nearest(path), "'");
    throw PlanError("catalog: there is no '" + std::string(path) + "'" +
                    (nearest.empty() ? "" : "; the nearest names are " + nearest));
  }
  const uint32_t tie = place->node == none ? none : names_->tie_of[place->node];
  return tie == none ? nullptr : &ties()[tie];
}

const Tie& Catalog::operator[](std::string_view path) const {
  const Tie* tie = find(path);
  if (tie == nullptr) throw PlanError("catalog: '" + std::string(path) + "' is not tied to anything");
  return *tie;
}

namespace {

constexpr std::size_t no_keep = SIZE_MAX;

/// By NodeId: which keep holds it; `no_keep` for what none does.
std::vector<std::size_t> keeps_of(const core::Graph& graph, const core::Rules& rules) {
  std::vector<std::size_t> result(graph.nodes.size(), no_keep);
  for (std::size_t keep = 0; keep < rules.keep.size(); ++keep) {
    const auto hold = [&](core::NodeId node) {
      core::walk_beneath(graph, node, [&](core::NodeId inner) {
        result[inner] = keep;
        for (const core::Slot& slot : graph.slots_of(inner)) {
          if (slot.target != none && graph.nodes[slot.target].kind == core::NodeKind::tensor) {
            result[slot.target] = keep;
          }
        }
        return true;
      });
    };
    for (const core::NodeId node : rules.keep[keep].under) hold(node);
    for (const core::SlotId slot : rules.keep[keep].slots) {
      if (graph.slots[slot].target != none) hold(graph.slots[slot].target);
    }
  }
  return result;
}

/// Why what stands in a slot is as it is.
class Reasons {
 public:
  Reasons(const core::Graph& graph, const core::Rules& rules) : rules_(rules), keeps_(keeps_of(graph, rules)) {}

  std::string kept(core::NodeId node) const {
    return keeps_[node] == no_keep ? "tied to what is kept" : "keep=" + rules_.keep[keeps_[node]].text;
  }

  std::string decided(const core::Tensor& tensor, const core::Decision& decision) const {
    std::string why = "default";
    if (decision.rule != none) {
      const core::Rule& rule = rules_.modes[decision.rule];
      const bool untied = tensor.part != 0 && rule.mode != decision.mode && decision.copied == nullptr;
      why = untied ? "untied" : std::string(core::to_string(rule.mode)) + "=" + rule.where.text;
      if (decision.copied != nullptr) why += std::string(", copied: ") + decision.copied;
    }
    return decision.freeze == none ? why : why + ", freeze=" + rules_.freeze[decision.freeze].text;
  }

 private:
  const core::Rules& rules_;
  std::vector<std::size_t> keeps_;
};

/// Counts each block, and each tensor without one, once.
class Bytes {
 public:
  Bytes(const core::Graph& graph, const core::Plan& plan)
      : graph_(graph), plan_(plan), blocks_(plan.blocks.size()), tensors_(graph.tensors.size()) {}

  int64_t first_use(core::TensorId id) {
    const core::Decision& decision = plan_.tensors[id];
    const at::Tensor& value = graph_.tensors[id].value;
    // A wrapper's sizes are not looked at: asking may run user code.
    const bool counted = std::exchange(tensors_[id], 1);
    if (!core::has_own_values(decision.mode) || counted || graph_.tensors[id].opaque) return 0;
    const bool with_grad = plan_.grads && decision.mode != core::Mode::differentiable;
    return own(decision, value) + (with_grad ? grad(decision, value) : 0);
  }

 private:
  int64_t own(const core::Decision& decision, const at::Tensor& value) {
    if (decision.block == none) return value.is_meta() ? 0 : bytes(decision, value);
    const bool counted = std::exchange(blocks_[decision.block], 1);
    return counted || plan_.blocks[decision.block].device.is_meta() ? 0 : plan_.blocks[decision.block].bytes;
  }

  static int64_t grad(const core::Decision& decision, const at::Tensor& value) {
    return value.is_leaf() && value.grad().defined() ? bytes(decision, value.grad()) : 0;
  }

  static int64_t bytes(const core::Decision& decision, const at::Tensor& value) {
    const bool same = decision.dtype == at::ScalarType::Undefined;
    const std::size_t item = same ? value.element_size() : c10::elementSize(decision.dtype);
    return value.numel() * static_cast<int64_t>(item);
  }

  const core::Graph& graph_;
  const core::Plan& plan_;
  std::vector<char> blocks_, tensors_;
};

}  // namespace

Plan::Plan(const core::Graph& graph, const core::Rules& rules, const core::Plan& plan) {
  const core::Paths paths(graph);
  const Reasons reasons(graph, rules);
  Bytes bytes(graph, plan);
  for (const core::SlotId slot : paths.slots()) {
    const auto [owner, target, name, kind] = graph.slots[slot];
    if (target == none) continue;
    const core::Node& node = graph.nodes[target];
    if (node.kind != core::NodeKind::tensor) {
      const bool outermost = node.fate == core::Fate::held && graph.nodes[owner].fate != core::Fate::held;
      if (outermost) rows_.push_back({paths.path(slot), "keep", reasons.kept(target), 0});
      continue;
    }
    const core::Decision& decision = plan.tensors[node.tensor];
    rows_.push_back({paths.path(slot), decision.held ? "keep" : std::string(core::to_string(decision.mode)),
                     decision.held ? reasons.kept(target) : reasons.decided(graph.tensors[node.tensor], decision),
                     bytes.first_use(node.tensor)});
    nbytes_ += rows_.back().nbytes;
  }
  // What no path names is allocated too: what an optimizer keeps for a tensor, what stands in a set.
  for (core::TensorId id = 0; id < graph.tensors.size(); ++id) nbytes_ += bytes.first_use(id);
  by_path_.resize(rows_.size());
  std::iota(by_path_.begin(), by_path_.end(), 0);
  std::sort(by_path_.begin(), by_path_.end(), [&](uint32_t a, uint32_t b) { return rows_[a].path < rows_[b].path; });
}

const PlanRow* Plan::find(std::string_view path) const {
  const auto before = [&](uint32_t row, std::string_view wanted) { return rows_[row].path < wanted; };
  const auto it = std::lower_bound(by_path_.begin(), by_path_.end(), path, before);
  return it == by_path_.end() || rows_[*it].path != path ? nullptr : &rows_[*it];
}

std::ostream& operator<<(std::ostream& out, const Catalog& catalog) {
  if (catalog.empty()) return out << "no ties\n";
  std::vector<std::vector<std::string>> rows{{"kind", "bytes", "names"}};
  for (const Tie& tie : catalog) rows.push_back({tie.kind, human(tie.nbytes), joined(tie.names, "")});
  print_table(out, rows);
  return out;
}

std::ostream& operator<<(std::ostream& out, const Plan& plan) {
  std::vector<std::vector<std::string>> rows{{"path", "mode", "bytes", "why"}};
  for (const PlanRow& row : plan) rows.push_back({row.path, row.mode, human(row.nbytes), row.why});
  print_table(out, rows);
  return out << plan.size() << (plan.size() == 1 ? " slot, " : " slots, ") << human(plan.nbytes()) << " to allocate\n";
}

}  // namespace ramet
