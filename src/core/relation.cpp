/// Two graphs as one, by the paths that both have: their words, and the ties that only one has.
#include <ramet/errors.h>
#include <ramet/relation.h>

#include <map>
#include <set>
#include <unordered_map>

#include "core/compare.h"
#include "core/table.h"

namespace ramet {
namespace {

using core::none;

/// What stands under one path: a node (or a slot) of each side; `none` where a side has nothing there.
using Sides = std::pair<uint32_t, uint32_t>;

/// Both graphs under one set of names. Where paths lead one side to one node and the other to two, there are two pairs.
class Joined {
 public:
  Joined(const core::Graph& a, const core::Graph& b) : a_(a), b_(b) {
    add_node({0, 0});
    for (core::NodeId node = 0; node < nodes_.size(); ++node) expand(node);
  }

  core::Graph graph;         // in the order of a, then what only b has
  std::vector<Sides> slots;  // by SlotId

 private:
  core::NodeId add_node(Sides sides) {
    if (sides == Sides(none, none)) return none;
    const auto [it, added] = ids_.try_emplace(sides, static_cast<core::NodeId>(nodes_.size()));
    if (added) {
      graph.add_node(core::NodeKind::object, nullptr);
      nodes_.push_back(sides);
    }
    return it->second;
  }

  void expand(core::NodeId node) {
    std::vector<Sides> held;
    std::unordered_map<std::string_view, std::size_t> by_name;  // of two slots of one name only the first has a path
    const auto collect = [&](const core::Graph& side, core::NodeId owner, uint32_t Sides::*slot) {
      if (owner == none) return;
      const core::SlotId first = side.nodes[owner].first, end = first + side.nodes[owner].count;
      for (core::SlotId id = first; id < end; ++id) {
        if (side.slots[id].kind == core::SlotKind::back || side.slots[id].name == none) continue;
        const auto [it, added] = by_name.try_emplace(side.name(id), held.size());
        if (added) held.emplace_back(none, none);
        uint32_t& place = held[it->second].*slot;
        if (place == none) place = id;
      }
    };
    collect(a_, nodes_[node].first, &Sides::first);
    collect(b_, nodes_[node].second, &Sides::second);
    for (const Sides& sides : held) {
      const core::Graph& named = sides.first != none ? a_ : b_;
      const core::SlotId id = sides.first != none ? sides.first : sides.second;
      const core::NodeId target = add_node({target_of(a_, sides.first), target_of(b_, sides.second)});
      graph.add_slot(node, named.slots[id].kind, graph.add_name(named.name(id)), target);
      slots.push_back(sides);
    }
  }

  static core::NodeId target_of(const core::Graph& side, core::SlotId slot) {
    return slot == none ? none : side.slots[slot].target;
  }

  const core::Graph &a_, &b_;
  std::vector<Sides> nodes_;  // by NodeId
  std::map<Sides, core::NodeId> ids_;
};

/// The words of slots. Each pair of tensors is compared once, however many slots hold it.
class Words {
 public:
  Words(const core::Graph& a, const core::Graph& b, const core::Equal& equal_wrappers)
      : a_(a), b_(b), equal_wrappers_(equal_wrappers) {}

  /// Empty if the slots hold no tensor on either side.
  std::string_view of(Sides slots) {
    const core::TensorId x = tensor_of(a_, slots.first), y = tensor_of(b_, slots.second);
    if (x == none && y == none) return {};
    if (slots.first == none) return "only_b";
    if (slots.second == none) return "only_a";
    if (x == none || y == none) return "different";
    std::string_view& word = compared_[{x, y}];
    if (word.empty()) word = core::compare(a_.tensors[x].value, b_.tensors[y].value, equal_wrappers_);
    return word;
  }

 private:
  static core::TensorId tensor_of(const core::Graph& side, core::SlotId slot) {
    return slot == none || side.slots[slot].target == none ? none : side.nodes[side.slots[slot].target].tensor;
  }

  const core::Graph &a_, &b_;
  const core::Equal& equal_wrappers_;
  std::map<std::pair<core::TensorId, core::TensorId>, std::string_view> compared_;
};

std::vector<Tie> ties_of(const core::Graph& graph) {
  const core::Paths paths(graph);
  return named(core::catalog(graph, paths).ties, paths);
}

std::vector<Tie> without(const std::vector<Tie>& ties, const std::vector<Tie>& others) {
  const auto names = [](const Tie& tie) { return std::set<std::string>(tie.names.begin(), tie.names.end()); };
  std::set<std::set<std::string>> known;
  for (const Tie& tie : others) known.insert(names(tie));
  std::vector<Tie> result;
  for (const Tie& tie : ties) {
    if (known.count(names(tie)) == 0) result.push_back(tie);
  }
  return result;
}

}  // namespace

struct Relation::Names {
  explicit Names(core::Graph joined) : graph(std::move(joined)), paths(graph), words(graph.slots.size()) {}

  core::Graph graph;
  core::Paths paths;
  std::vector<std::string_view> words;  // by SlotId
};

Relation::Relation(const core::Graph& a, const core::Graph& b, const core::Equal& equal_wrappers) {
  Joined joined(a, b);
  const auto names = std::make_shared<Names>(std::move(joined.graph));
  Words words(a, b, equal_wrappers);
  for (const core::SlotId slot : names->paths.slots()) {
    const std::string_view word = names->words[slot] = words.of(joined.slots[slot]);
    if (!word.empty()) rows_.push_back({names->paths.path(slot), std::string(word)});
  }
  const std::vector<Tie> of_a = ties_of(a), of_b = ties_of(b);
  ties_a_ = without(of_a, of_b);
  ties_b_ = without(of_b, of_a);
  names_ = names;
}

std::string Relation::operator[](std::string_view path) const {
  const std::string quoted = "'" + std::string(path) + "'";
  const std::optional<core::Place> place = names_->paths.find(path);
  if (!place) {
    const std::string nearest = joined(names_->paths.nearest(path), "'");
    throw PlanError("relation: neither side has " + quoted +
                    (nearest.empty() ? "" : "; the nearest names are " + nearest));
  }
  const std::string_view word = place->slot == none ? std::string_view() : names_->words[place->slot];
  if (word.empty()) throw PlanError("relation: " + quoted + " holds no tensor; name a tensor slot");
  if (word == "only_a" || word == "only_b") {
    throw PlanError("relation: only " + std::string(1, word.back()) + " has " + quoted +
                    ", so there is nothing to compare; such paths are in ." + std::string(word));
  }
  return std::string(word);
}

std::vector<std::string> Relation::paths(std::string_view word) const {
  std::vector<std::string> result;
  for (const RelationRow& row : rows_) {
    if (row.word == word) result.push_back(row.path);
  }
  return result;
}

std::ostream& operator<<(std::ostream& out, const Relation& relation) {
  std::vector<std::vector<std::string>> rows{{"path", "relation"}};
  for (const RelationRow& row : relation) rows.push_back({row.path, row.word});
  if (relation.size() > 0) print_table(out, rows);
  for (const Tie& tie : relation.ties_a()) out << "only a ties " << joined(tie.names, "") << '\n';
  for (const Tie& tie : relation.ties_b()) out << "only b ties " << joined(tie.names, "") << '\n';
  out << relation.size() << (relation.size() == 1 ? " path" : " paths");
  const char* separator = ": ";
  for (const char* word : {"shared", "aliased", "lazy", "equal", "different", "only_a", "only_b"}) {
    const auto is_that = [&](const RelationRow& row) { return row.word == word; };
    const auto count = std::count_if(relation.begin(), relation.end(), is_that);
    if (count > 0) out << std::exchange(separator, ", ") << count << ' ' << word;
  }
  return out << '\n';
}

}  // namespace ramet
