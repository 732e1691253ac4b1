/// Ties and plans by path, and their tables.
#include <ramet/errors.h>
#include <ramet/report.h>

#include <algorithm>
#include <array>
#include <ostream>
#include <unordered_set>

namespace ramet {
namespace {

using core::none;

constexpr std::array<const char*, 3> kind_names{"module", "tensor", "storage"};

std::string human(int64_t bytes) {
  constexpr std::array<const char*, 5> units{"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < units.size()) value /= 1024, ++unit;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text.data();
}

/// Prints rows of cells, each column as wide as its widest cell; the last column is ragged.
void print_table(std::ostream& out, const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows[0].size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    for (std::size_t i = 0; i + 1 < row.size(); ++i) out << row[i] << std::string(widths[i] - row[i].size() + 2, ' ');
    out << row.back() << '\n';
  }
}

std::string joined(const std::vector<std::string>& names) {
  std::string result;
  for (const std::string& name : names) result += (result.empty() ? "" : ", ") + name;
  return result;
}

}  // namespace

/// The model's names alone, so that a catalog can be asked by any path and holds nothing of the model.
struct Catalog::Names {
  explicit Names(const core::Graph& source) : graph(without_values(source)), paths(graph) {}

  static core::Graph without_values(const core::Graph& source) {
    core::Graph graph;
    graph.nodes = source.nodes;
    for (core::Node& node : graph.nodes) node.object = nullptr;
    graph.slots = source.slots;
    graph.names = source.names;
    return graph;
  }

  core::Graph graph;
  core::Paths paths;
  std::vector<uint32_t> tie_of;  // by SlotId
};

Catalog::Catalog(const core::Graph& graph, const core::Catalog& catalog) {
  const auto names = std::make_shared<Names>(graph);
  names->tie_of.assign(graph.slots.size(), none);
  for (const core::Tie& tie : catalog.ties) {
    Tie& added = ties_.emplace_back(Tie{kind_names[static_cast<std::size_t>(tie.kind)], {}, tie.nbytes});
    for (const core::SlotId slot : tie.slots) {
      added.names.push_back(names->paths.path(slot));
      names->tie_of[slot] = static_cast<uint32_t>(ties_.size() - 1);
    }
  }
  names_ = names;
}

const Tie* Catalog::find(std::string_view path) const {
  const std::optional<core::Place> place = names_->paths.find(path);
  if (!place) {
    throw PlanError("catalog: there is no '" + std::string(path) + "'; the nearest names are '" +
                    joined(names_->paths.nearest(path)) + "'");
  }
  const uint32_t tie = place->slot == none ? none : names_->tie_of[place->slot];
  return tie == none ? nullptr : &ties_[tie];
}

const Tie& Catalog::operator[](std::string_view path) const {
  const Tie* tie = find(path);
  if (tie == nullptr) throw PlanError("catalog: '" + std::string(path) + "' is not tied to anything");
  return *tie;
}

namespace {

std::string why(const core::Decision& decision, const core::Rules& rules, const std::string& keep) {
  if (decision.held) return keep;
  if (decision.rule == none) return "default";
  const core::Rule& rule = rules.modes[decision.rule];
  return std::string(core::to_string(rule.mode)) + "=" + rule.where.text;
}

/// By NodeId: the keep rule that holds a node; held nodes that none names are tied to one that is.
std::vector<std::string> reasons_to_keep(const core::Graph& graph, const core::Rules& rules) {
  std::vector<std::string> result(graph.nodes.size(), "tied to what is kept");
  for (const core::Selection& keep : rules.keep) {
    const std::string text = "keep=" + keep.text;
    const auto hold = [&](core::NodeId node) {
      core::walk_beneath(graph, node, [&](core::NodeId inner) {
        result[inner] = text;
        for (const core::Slot& slot : graph.slots_of(inner)) {
          if (slot.target != none && graph.nodes[slot.target].kind == core::NodeKind::tensor)
            result[slot.target] = text;
        }
        return true;
      });
    };
    for (const core::NodeId node : keep.under) hold(node);
    for (const core::SlotId slot : keep.slots) {
      if (graph.slots[slot].target != none) hold(graph.slots[slot].target);
    }
  }
  return result;
}

}  // namespace

Plan::Plan(const core::Graph& graph, const core::Rules& rules, const core::Plan& plan) {
  const core::Paths paths(graph);
  const std::vector<std::string> keeps =
      rules.keep.empty() ? std::vector<std::string>(graph.nodes.size()) : reasons_to_keep(graph, rules);
  std::vector<bool> counted_block(plan.blocks.size()), counted_tensor(graph.tensors.size());
  for (const core::SlotId slot : paths.slots()) {
    const auto [owner, target, name, kind] = graph.slots[slot];
    if (target == none) continue;
    const core::Node& node = graph.nodes[target];
    if (node.kind != core::NodeKind::tensor) {
      const bool outermost = node.fate == core::Fate::held && graph.nodes[owner].fate != core::Fate::held;
      if (outermost) rows_.push_back({paths.path(slot), "keep", keeps[target], 0});
      continue;
    }
    const core::Decision& decision = plan.tensors[node.tensor];
    PlanRow& row =
        rows_.emplace_back(PlanRow{paths.path(slot), decision.held ? "keep" : std::string(to_string(decision.mode)),
                                   why(decision, rules, keeps[target]), 0});
    if (decision.mode != core::Mode::copy) continue;
    if (decision.block == none) {
      const at::Tensor& value = graph.tensors[node.tensor].value;
      if (!counted_tensor[node.tensor] && !value.is_meta())
        row.nbytes = value.numel() * static_cast<int64_t>(value.element_size());
      counted_tensor[node.tensor] = true;
    } else if (!counted_block[decision.block]) {
      counted_block[decision.block] = true;
      row.nbytes = plan.blocks[decision.block].bytes;
    }
    nbytes_ += row.nbytes;
  }
}

const PlanRow* Plan::find(std::string_view path) const {
  const auto it = std::find_if(rows_.begin(), rows_.end(), [&](const PlanRow& row) { return row.path == path; });
  return it == rows_.end() ? nullptr : &*it;
}

std::ostream& operator<<(std::ostream& out, const Catalog& catalog) {
  if (catalog.empty()) return out << "no ties\n";
  std::vector<std::vector<std::string>> rows{{"kind", "bytes", "names"}};
  for (const Tie& tie : catalog) rows.push_back({tie.kind, human(tie.nbytes), joined(tie.names)});
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
