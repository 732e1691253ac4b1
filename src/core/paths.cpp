/// Paths from slots and slots from paths. A glob runs as a set of pattern positions that is pushed along the slots
/// until nothing changes, so that a graph with exponentially many paths costs no more than its slots.
#include <ramet/paths.h>

#include <algorithm>
#include <numeric>

namespace ramet::core {
namespace {

/// A glob, compiled: one token a position; the last position accepts.
class Glob {
 public:
  /// Positions of the pattern that can have been reached, by one text or another.
  using States = std::vector<bool>;

  explicit Glob(std::string_view text) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '*') {
        tokens_.push_back({Token::star, {}});
      } else if (text[i] == '?') {
        tokens_.push_back({Token::any, {}});
      } else if (const std::size_t close = text[i] == '[' ? text.find(']', i + 2) : text.npos; close != text.npos) {
        tokens_.push_back({Token::set, text.substr(i + 1, close - i - 1)});
        i = close;
      } else {
        tokens_.push_back({Token::literal, text.substr(i, 1)});
      }
    }
  }

  States start() const { return close(States(tokens_.size() + 1), 0); }
  bool accepts(const States& states) const { return states.back(); }

  States step(const States& states, std::string_view text) const {
    States now = states;
    for (const char c : text) {
      States next(now.size());
      for (std::size_t i = 0; i < tokens_.size(); ++i) {
        if (!now[i]) continue;
        if (tokens_[i].kind == Token::star) next = close(std::move(next), i);
        if (tokens_[i].matches(c)) next = close(std::move(next), i + 1);
      }
      now = std::move(next);
    }
    return now;
  }

 private:
  struct Token {
    enum Kind : uint8_t { star, any, set, literal } kind;
    std::string_view text;

    bool matches(char c) const {
      if (kind == any) return true;
      if (kind == literal) return text[0] == c;
      if (kind == star) return false;
      const bool negated = text[0] == '!';
      bool found = false;
      for (std::size_t i = negated ? 1 : 0; i < text.size(); ++i) {
        if (i + 2 < text.size() && text[i + 1] == '-') {
          found = found || (text[i] <= c && c <= text[i + 2]);
          i += 2;
        } else {
          found = found || text[i] == c;
        }
      }
      return found != negated;
    }
  };

  // Position i is reached, and with it all behind the stars that follow.
  States close(States states, std::size_t i) const {
    states[i] = true;
    while (i < tokens_.size() && tokens_[i].kind == Token::star) states[++i] = true;
    return states;
  }

  std::vector<Token> tokens_;
};

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row.back();
}

/// Lists the slots beneath `root` that are reached through registered ones, depth first.
class RegisteredWalk {
 public:
  RegisteredWalk(const Graph& graph, std::vector<SlotId>& order, std::vector<SlotId>& through, std::vector<bool>& met,
                 std::vector<NodeId>& entered)
      : graph_(graph), order_(order), through_(through), met_(met), entered_(entered) {}

  void from(NodeId root) {
    enter(root);
    while (!stack_.empty()) {
      auto& [next, end] = stack_.back();
      if (next == end) {
        stack_.pop_back();
        continue;
      }
      const SlotId id = next++;
      const Slot& slot = graph_.slots[id];
      if (slot.kind != SlotKind::child || slot.name == none) continue;
      if (take(id)) enter(slot.target);
    }
  }

  // Lists a slot; true if its target is met for the first time.
  bool take(SlotId id) {
    order_.push_back(id);
    const NodeId target = graph_.slots[id].target;
    if (target == none || met_[target]) return false;
    met_[target] = true;
    through_[target] = id;
    return true;
  }

 private:
  void enter(NodeId node) {
    entered_.push_back(node);
    const SlotId first = graph_.nodes[node].first, end = first + graph_.nodes[node].count;
    for (SlotId id = first; id < end; ++id) {
      const Slot& slot = graph_.slots[id];
      if ((slot.kind == SlotKind::parameter || slot.kind == SlotKind::buffer) && slot.name != none) take(id);
    }
    stack_.emplace_back(first, end);
  }

  const Graph& graph_;
  std::vector<SlotId>& order_;
  std::vector<SlotId>& through_;
  std::vector<bool>& met_;
  std::vector<NodeId>& entered_;
  std::vector<std::pair<SlotId, SlotId>> stack_;
};

}  // namespace

Paths::Paths(const Graph& graph) : graph_(graph), through_(graph.nodes.size(), none) {
  if (graph.nodes.empty()) return;
  std::vector<bool> met(graph.nodes.size());
  std::vector<NodeId> entered;
  met[0] = true;
  RegisteredWalk walk(graph, order_, through_, met, entered);
  walk.from(0);
  for (std::size_t i = 0; i < entered.size(); ++i) {
    const Node node = graph.nodes[entered[i]];
    for (SlotId id = node.first; id < node.first + node.count; ++id) {
      const Slot& slot = graph.slots[id];
      if (slot.kind == SlotKind::state && slot.name != none && walk.take(id)) walk.from(slot.target);
    }
  }
}

std::string Paths::path(SlotId slot) const {
  std::vector<SlotId> chain;
  for (SlotId id = slot; id != none;) {
    if (graph_.slots[id].name == none) return {};
    chain.push_back(id);
    const NodeId owner = graph_.slots[id].owner;
    if (owner != 0 && through_[owner] == none) return {};
    id = through_[owner];
  }
  std::string result;
  for (auto it = chain.rbegin(); it != chain.rend(); ++it) {
    if (!result.empty()) result += '.';
    result += graph_.name(*it);
  }
  return result;
}

std::string Paths::path_of(NodeId node) const { return through_[node] == none ? std::string() : path(through_[node]); }

std::optional<Place> Paths::find(std::string_view path) const {
  Place place{none, 0};
  while (!path.empty()) {
    if (place.node == none) return std::nullopt;
    const std::size_t dot = std::min(path.find('.'), path.size());
    const Node& owner = graph_.nodes[place.node];
    SlotId found = none;
    for (SlotId id = owner.first; id < owner.first + owner.count && found == none; ++id) {
      if (graph_.slots[id].kind != SlotKind::back && graph_.slots[id].name != none &&
          graph_.name(id) == path.substr(0, dot)) {
        found = id;
      }
    }
    if (found == none || dot + 1 == path.size()) return std::nullopt;
    place = {found, graph_.slots[found].target};
    path.remove_prefix(std::min(dot + 1, path.size()));
  }
  return place;
}

std::vector<SlotId> Paths::match(std::string_view text) const {
  if (graph_.nodes.empty()) return {};
  const Glob glob(text);
  std::vector<Glob::States> reached(graph_.nodes.size());
  std::vector<bool> matched(graph_.slots.size());
  reached[0] = glob.start();
  std::vector<NodeId> work{0};
  while (!work.empty()) {
    const NodeId node = work.back();
    work.pop_back();
    const Glob::States before = node == 0 ? reached[0] : glob.step(reached[node], ".");
    const Node& owner = graph_.nodes[node];
    for (SlotId id = owner.first; id < owner.first + owner.count; ++id) {
      const Slot& slot = graph_.slots[id];
      if (slot.kind == SlotKind::back || slot.name == none) continue;
      const Glob::States after = glob.step(before, graph_.name(id));
      if (glob.accepts(after)) matched[id] = true;
      if (slot.target == none || slot.target == 0 || graph_.nodes[slot.target].count == 0) continue;
      Glob::States& target = reached[slot.target];
      target.resize(after.size());
      bool grown = false;
      for (std::size_t i = 0; i < after.size(); ++i) {
        if (after[i] && !target[i]) target[i] = grown = true;
      }
      if (grown) work.push_back(slot.target);
    }
  }
  std::vector<SlotId> result;
  std::copy_if(order_.begin(), order_.end(), std::back_inserter(result), [&](SlotId id) { return matched[id]; });
  return result;
}

std::vector<std::string> Paths::nearest(std::string_view path, std::size_t count) const {
  std::vector<std::pair<std::size_t, std::string>> found;
  for (const SlotId id : order_) {
    std::string candidate = this->path(id);
    found.emplace_back(edit_distance(path, candidate), std::move(candidate));
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> result;
  for (auto& [distance, candidate] : found) {
    if (result.size() == count) break;
    result.push_back(std::move(candidate));
  }
  return result;
}

bool is_glob(std::string_view text) { return text.find_first_of("*?[") != text.npos; }

}  // namespace ramet::core
