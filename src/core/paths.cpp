/// Paths from slots and slots from paths. A glob runs as a set of pattern positions that is pushed along the slots
/// until nothing changes, so that a graph with exponentially many paths costs no more than its slots.
#include <c10/util/SmallVector.h>
#include <ramet/paths.h>

#include <algorithm>
#include <numeric>

namespace ramet::core {
namespace {

/// A glob, compiled: one token a position; the last position accepts.
class Glob {
 public:
  /// By position of the pattern: whether it can have been reached, by one text or another.
  using States = std::vector<char>;

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

  States start() const {
    States states(tokens_.size() + 1);
    states[0] = true;
    pass_stars(states);
    return states;
  }

  bool accepts(const States& states) const { return states.back(); }

  void advance(States& states, std::string_view text) const {
    for (const char c : text) {
      // From the last position down: what is read has not moved yet.
      for (std::size_t i = tokens_.size(); i > 0; --i) {
        const bool stays = states[i] && is_star(i);
        states[i] = static_cast<char>(stays || (states[i - 1] && tokens_[i - 1].matches(c)));
      }
      states[0] = static_cast<char>(states[0] && is_star(0));
      pass_stars(states);
    }
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

  bool is_star(std::size_t i) const { return i < tokens_.size() && tokens_[i].kind == Token::star; }

  // A star may stand for nothing: who reaches it has reached what follows.
  void pass_stars(States& states) const {
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      if (states[i] && is_star(i)) states[i + 1] = true;
    }
  }

  std::vector<Token> tokens_;
};

/// Adds what `more` has reached to `states`; whether that was anything new.
bool merge(Glob::States& states, const Glob::States& more) {
  states.resize(more.size());
  bool grown = false;
  for (std::size_t i = 0; i < more.size(); ++i) {
    if (more[i] && !states[i]) grown = true, states[i] = 1;
  }
  return grown;
}

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

/// Lists all slots that have a path. Explicit stacks: nesting may be as deep as memory allows.
class Walk {
 public:
  Walk(const Graph& graph, std::vector<SlotId>& order, std::vector<SlotId>& through)
      : graph_(graph), order_(order), through_(through), met_(graph.nodes.size()) {}

  // What is registered beneath the root, then the plain state of all that, depth first.
  void run() {
    struct Frame {
      std::size_t node, end;  // of entered_: those whose plain state is still to be listed
      uint32_t slot;
    };
    met_[0] = true;
    registered(0);
    std::vector<Frame> frames{{0, entered_.size(), 0}};
    while (!frames.empty()) {
      Frame& frame = frames.back();
      if (frame.node == frame.end) {
        frames.pop_back();
        continue;
      }
      const Node& node = graph_.nodes[entered_[frame.node]];
      if (frame.slot == node.count) {
        ++frame.node;
        frame.slot = 0;
        continue;
      }
      const SlotId id = node.first + frame.slot++;
      if (graph_.slots[id].kind != SlotKind::state || !take(id)) continue;
      const std::size_t begin = entered_.size();
      registered(graph_.slots[id].target);
      frames.push_back({begin, entered_.size(), 0});
    }
  }

 private:
  void registered(NodeId root) {
    std::vector<std::pair<SlotId, SlotId>> stack;
    const auto enter = [&](NodeId node) {
      entered_.push_back(node);
      const SlotId first = graph_.nodes[node].first, end = first + graph_.nodes[node].count;
      for (SlotId id = first; id < end; ++id) {
        const Slot& slot = graph_.slots[id];
        if (slot.kind != SlotKind::parameter && slot.kind != SlotKind::buffer) continue;
        if (take(id) && graph_.nodes[slot.target].count > 0) entered_.push_back(slot.target);
      }
      if (first != end) stack.emplace_back(first, end);
    };
    enter(root);
    while (!stack.empty()) {
      auto& [next, end] = stack.back();
      if (next == end) {
        stack.pop_back();
        continue;
      }
      const SlotId id = next++;
      if (graph_.slots[id].kind == SlotKind::child && take(id)) enter(graph_.slots[id].target);
    }
  }

  // Lists a slot that has a name; true if its target is met for the first time.
  bool take(SlotId id) {
    if (graph_.slots[id].name == none) return false;
    order_.push_back(id);
    const NodeId target = graph_.slots[id].target;
    if (target == none || met_[target]) return false;
    met_[target] = true;
    through_[target] = id;
    return true;
  }

  const Graph& graph_;
  std::vector<SlotId>& order_;
  std::vector<SlotId>& through_;
  std::vector<bool> met_;
  std::vector<NodeId> entered_;
};

}  // namespace

Paths::Paths(const Graph& graph) : graph_(graph), through_(graph.nodes.size(), none) {
  order_.reserve(graph.slots.size());
  if (!graph.nodes.empty()) Walk(graph, order_, through_).run();
}

std::string Paths::path(SlotId slot) const {
  c10::SmallVector<SlotId, 16> chain;
  for (SlotId id = slot; id != none;) {
    if (graph_.slots[id].name == none || graph_.slots[id].kind == SlotKind::back) return {};
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
  Glob::States before, after;
  while (!work.empty()) {
    const NodeId node = work.back();
    work.pop_back();
    before = reached[node];
    if (node != 0) glob.advance(before, ".");
    const Node& owner = graph_.nodes[node];
    for (SlotId id = owner.first; id < owner.first + owner.count; ++id) {
      const Slot& slot = graph_.slots[id];
      if (slot.kind == SlotKind::back || slot.name == none) continue;
      after = before;
      glob.advance(after, graph_.name(id));
      if (glob.accepts(after)) matched[id] = true;
      if (slot.target == none || slot.target == 0 || graph_.nodes[slot.target].count == 0) continue;
      if (merge(reached[slot.target], after)) work.push_back(slot.target);
    }
  }
  std::vector<SlotId> result;
  std::copy_if(order_.begin(), order_.end(), std::back_inserter(result), [&](SlotId id) { return matched[id]; });
  return result;
}

std::vector<std::string> Paths::nearest(std::string_view path, std::size_t count) const {
  if (count == 0) return {};
  std::vector<std::pair<std::size_t, std::string>> best;  // nearest first
  std::vector<std::size_t> length(graph_.nodes.size());   // of each node's first path
  for (const SlotId id : order_) {
    const Slot& slot = graph_.slots[id];
    const std::size_t size = length[slot.owner] + (slot.owner == 0 ? 0 : 1) + graph_.name(id).size();
    if (slot.target != none && through_[slot.target] == id) length[slot.target] = size;
    // Paths whose lengths differ by n are n edits apart at least.
    const std::size_t least = std::max(size, path.size()) - std::min(size, path.size());
    if (best.size() == count && least >= best.back().first) continue;
    std::string candidate = this->path(id);
    const std::size_t distance = edit_distance(path, candidate);
    if (best.size() == count && distance >= best.back().first) continue;
    const auto place = std::find_if(best.begin(), best.end(), [&](const auto& it) { return it.first > distance; });
    best.emplace(place, distance, std::move(candidate));
    if (best.size() > count) best.pop_back();
  }
  std::vector<std::string> result;
  for (auto& [distance, candidate] : best) result.push_back(std::move(candidate));
  return result;
}

bool is_glob(std::string_view text) { return text.find_first_of("*?[") != text.npos; }

}  // namespace ramet::core
