/// Random graphs and random rules: plans and clones against a naive reading of what rules and ties mean; and random
/// writes to both sides, against a naive memory.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <ramet/errors.h>
#include <ramet/init.h>
#include <ramet/materialize.h>

#include <random>
#include <set>

#include "hand_made.h"

namespace ramet::core {
namespace {

constexpr int module_count = 7, object_count = 3, tensor_count = 7;
constexpr std::array modes{Mode::copy,           Mode::share, Mode::alias, Mode::lazy,
                           Mode::differentiable, Mode::init,  Mode::meta};
constexpr double fresh = -1;  // what initialisers write

class RandomCase {
 public:
  explicit RandomCase(uint32_t seed) : random_(seed) {
    add_nodes();
    add_slots();
    hold();
    add_rules();
  }

  int pick(std::size_t n) { return std::uniform_int_distribution<int>(0, static_cast<int>(n) - 1)(random_); }

  HandMade made;
  Rules rules;

 private:
  static std::string module_name(int i) { return i == 0 ? "" : "m" + std::to_string(i); }
  static std::string object_name(int i) { return "o" + std::to_string(i); }
  static std::string tensor_name(int i) { return "t" + std::to_string(i); }

  // Tensors of their own, views of two bases (rows, columns, every second element), one apart from its storage.
  void add_nodes() {
    for (int i = 0; i < module_count; ++i) made.module(module_name(i));
    for (int i = 0; i < object_count; ++i) made.object(object_name(i));
    const std::vector<at::Tensor> bases{at::rand({4, 6}), at::rand({40})};
    for (int i = 0; i < tensor_count; ++i) {
      const at::Tensor& base = bases[pick(2)];
      const int64_t size = base.size(-1), begin = pick(static_cast<int>(size)), step = 1 + pick(2);
      const int64_t end = begin + pick(static_cast<int>(size - begin) + 1);
      made.tensor(tensor_name(i),
                  pick(2) ? at::rand({3}).requires_grad_(pick(2) == 0) : base.slice(-1, begin, end, step));
      if (pick(8) == 0) made.graph.tensors.back().part = 1;
    }
  }

  // A tree of modules and some second parents, later modules within earlier ones: no cycles.
  void add_slots() {
    std::map<std::string, std::vector<HandMade::Held>> held;
    const auto add = [&](const std::string& owner, SlotKind kind, const std::string& target) {
      auto& slots = held[owner];
      slots.push_back({kind, "s" + std::to_string(slots.size()), target});
    };
    for (int i = 1; i < module_count; ++i) add(module_name(pick(i)), child, module_name(i));
    for (int i = pick(6); i > 0; --i) {
      const int inner = 1 + pick(module_count - 1);
      add(module_name(pick(inner)), child, module_name(inner));
    }
    for (int i = 0; i < object_count; ++i) add(module_name(pick(module_count)), state, object_name(i));
    for (int i = 0; i < object_count; ++i) {
      if (pick(2)) add(object_name(i), state, module_name(pick(module_count)));
      if (pick(2)) add(object_name(i), state, object_name(pick(object_count)));
      add(object_name(i), state, tensor_name(pick(tensor_count)));
    }
    for (int i = 0; i < tensor_count + 4; ++i) {
      const SlotKind kind = std::array{parameter, parameter, buffer, state}[pick(4)];
      add(module_name(pick(module_count)), kind, tensor_name(i < tensor_count ? i : pick(tensor_count)));
    }
    add("", parameter, "");
    for (const auto& [owner, slots] : held) made.slots(owner, slots);
  }

  void hold() {
    if (pick(3) != 0) return;
    const NodeId kept = pick(2) ? made[module_name(1 + pick(module_count - 1))] : made[tensor_name(pick(tensor_count))];
    made.graph.nodes[kept].fate = Fate::held;
    if (made.graph.nodes[kept].kind != NodeKind::module) return;
    walk_beneath(made.graph, kept, [&](NodeId node) {
      made.graph.nodes[node].fate = Fate::held;
      for (const Slot& slot : made.graph.slots_of(node)) {
        if (slot.target == none || made.graph.nodes[slot.target].tensor == none) continue;
        made.graph.nodes[slot.target].fate = Fate::held;
      }
      return true;
    });
  }

  void add_rules() {
    const Paths paths(made.graph);
    for (int i = pick(5); i > 0; --i) {
      rules.modes.push_back({modes[pick(modes.size())], select(paths)});
    }
    rules.initializer =
        std::any_of(rules.modes.begin(), rules.modes.end(), [](const Rule& rule) { return rule.mode == Mode::init; });
    for (int i = pick(4); i == 3; i = pick(4)) rules.freeze.push_back(select(paths));
    rules.grads = pick(5) == 0;
    if (pick(5) == 0) rules.dtype = at::kDouble;
  }

  Selection select(const Paths& paths) {
    switch (pick(6)) {
      case 0:
        return select_all("True");
      case 1:
        return select_kind(pick(2) ? SlotKind::parameter : SlotKind::buffer, "kind");
      case 2: {
        std::vector<NodeId> modules;
        for (int i = 0; i < module_count; ++i) {
          if (pick(3) == 0) modules.push_back(made[module_name(i)]);
        }
        return modules.empty() ? select_all("True") : select_type(std::move(modules), "type");
      }
      case 3:
        return select_path(made.graph, paths, "*s" + std::to_string(pick(3)) + "*", "glob");
      default:
        return select_node(made.graph,
                           made[pick(2) ? module_name(pick(module_count)) : tensor_name(pick(tensor_count))], "object");
    }
  }

  std::mt19937 random_;
};

/// What rules and ties mean, said slot by slot and element by element.
class Naive {
 public:
  using Element = std::tuple<const void*, uint32_t, int64_t>;

  static std::vector<Element> places_of(const Tensor& tensor) {
    std::vector<Element> result;
    const at::Tensor places =
        at::arange(1000).as_strided(tensor.value.sizes(), tensor.value.strides(), tensor.value.storage_offset());
    for (int64_t i = 0; i < places.numel(); ++i) {
      result.emplace_back(tensor.value.storage().unsafeGetStorageImpl(), tensor.part,
                          places.flatten()[i].item<int64_t>());
    }
    return result;
  }

  explicit Naive(const RandomCase& given) : graph_(given.made.graph), rules_(given.rules.modes), all_(given.rules) {
    for (const Tensor& tensor : graph_.tensors) elements_.push_back(elements(tensor));
    for (TensorId id = 0; id < graph_.tensors.size(); ++id) group_.push_back({id});
    for (bool grown = true; grown;) {
      grown = false;
      for (auto& group : group_) {
        for (TensorId other = 0; other < graph_.tensors.size(); ++other) {
          grown = (!group.count(other) && meets(group, other) && group.insert(other).second) || grown;
        }
      }
    }
  }

  const std::set<TensorId>& group(TensorId id) const { return group_[id]; }

  bool held(NodeId node) const {
    if (graph_.nodes[node].fate == Fate::held) return true;
    if (graph_.nodes[node].tensor == none) return false;
    const auto& tied = group_[graph_.nodes[node].tensor];
    return std::any_of(tied.begin(), tied.end(),
                       [&](TensorId id) { return graph_.nodes[graph_.tensors[id].node].fate == Fate::held; });
  }

  // The modes that the narrowest rules give a tensor by any slot of any that it is tied to.
  std::set<Mode> modes(TensorId id) const {
    Rank best = Rank::all;
    std::set<Mode> result;
    for (SlotId slot = 0; slot < graph_.slots.size(); ++slot) {
      const NodeId target = graph_.slots[slot].target;
      if (target == none || graph_.nodes[target].tensor == none) continue;
      if (!group_[id].count(graph_.nodes[target].tensor)) continue;
      for (const auto& [rank, mode] : claims(slot)) {
        if (rank > best) result.clear();
        if (rank >= best) result.insert(mode);
        best = std::max(best, rank);
      }
    }
    return result;
  }

  // What the tensor becomes, where rules do not disagree.
  Mode mode(TensorId id) const {
    if (held(graph_.tensors[id].node)) return Mode::share;
    const std::set<Mode> modes = this->modes(id);
    if (modes.empty()) return Mode::copy;
    const bool shared = *modes.begin() == Mode::share || *modes.begin() == Mode::alias;
    return shared && graph_.tensors[id].part != 0 ? Mode::copy : *modes.begin();
  }

  // A rule that names, one by one or by module, only what is held.
  bool has_pointless_rule() const {
    const auto pointless = [&](const Selection& where) {
      const auto all_held = [&](const std::vector<NodeId>& nodes) {
        return !nodes.empty() && std::all_of(nodes.begin(), nodes.end(), [&](NodeId node) { return held(node); });
      };
      std::vector<NodeId> tensors;
      for (const TensorId id : named(where)) tensors.push_back(graph_.tensors[id].node);
      return where.rank >= Rank::type && (all_held(where.under) || all_held(tensors));
    };
    return std::any_of(rules_.begin(), rules_.end(), [&](const Rule& rule) { return pointless(rule.where); }) ||
           std::any_of(all_.freeze.begin(), all_.freeze.end(), pointless);
  }

  bool is_frozen(TensorId id) const {
    return mode(id) != Mode::share && std::any_of(all_.freeze.begin(), all_.freeze.end(),
                                                  [&](const Selection& where) { return named(where).count(id) != 0; });
  }

  // What autograd would follow, tied to another tensor or frozen.
  bool has_impossible_link() const {
    for (TensorId id = 0; id < graph_.tensors.size(); ++id) {
      if (mode(id) != Mode::differentiable || !graph_.tensors[id].value.requires_grad()) continue;
      if (group_[id].size() > 1 || is_frozen(id)) return true;
    }
    return false;
  }

  // A name of what is to be initialised that no init names; nothing, where a name is in two rules of one rank.
  std::optional<bool> has_half_named_init() const {
    bool result = false;
    for (SlotId slot = 0; slot < graph_.slots.size(); ++slot) {
      const NodeId target = graph_.slots[slot].target;
      if (target == none || graph_.nodes[target].tensor == none) continue;
      if (!core::is_registered(graph_.slots[slot].kind) || mode(graph_.nodes[target].tensor) != Mode::init) continue;
      std::set<Mode> named;
      for (const auto& [rank, mode] : claims(slot)) named.insert(mode);
      if (named.count(Mode::init) == 0) {
        result = true;
      } else if (named.size() > 1) {
        return std::nullopt;
      }
    }
    return result;
  }

  // freeze of what is not the clone's own, gradients of meta tensors, a dtype for what stays the source's.
  bool has_impossible_option() const {
    for (const Selection& where : all_.freeze) {
      int own = 0, others = 0;
      for (const TensorId id : named(where)) ++(mode(id) == Mode::share ? others : own);
      if (others > 0 && (where.rank != Rank::all || own == 0)) return true;
    }
    for (TensorId id = 0; id < graph_.tensors.size(); ++id) {
      const Mode mode = this->mode(id);
      if (all_.grads && (mode == Mode::meta || mode == Mode::init)) return true;
      if (all_.dtype && is_registered(id) && (mode == Mode::share || mode == Mode::alias)) return true;
    }
    return false;
  }

  // Whether anything that it is tied to is a parameter or a buffer.
  bool is_registered(TensorId id) const {
    return std::any_of(graph_.slots.begin(), graph_.slots.end(), [&](const Slot& slot) {
      const TensorId other = slot.target == none ? none : graph_.nodes[slot.target].tensor;
      return other != none && core::is_registered(slot.kind) && group_[id].count(other) != 0;
    });
  }

 private:
  static std::set<Element> elements(const Tensor& tensor) {
    const std::vector<Element> places = places_of(tensor);
    return {places.begin(), places.end()};
  }

  bool meets(const std::set<TensorId>& group, TensorId other) const {
    return std::any_of(group.begin(), group.end(), [&](TensorId id) {
      return std::any_of(elements_[id].begin(), elements_[id].end(),
                         [&](const Element& element) { return elements_[other].count(element) != 0; });
    });
  }

  bool beneath(NodeId outer, NodeId inner) const {
    std::set<NodeId> reached{outer};
    for (std::size_t size = 0; size != reached.size();) {
      size = reached.size();
      for (const Slot& slot : graph_.slots) {
        if (!reached.count(slot.owner) || slot.target == none) continue;
        if (slot.kind == child || graph_.nodes[slot.target].kind == NodeKind::object) reached.insert(slot.target);
      }
    }
    return reached.count(inner) != 0;
  }

  // The modules through which a selection names a slot; `none`: one by one, or by its kind.
  std::vector<NodeId> through(const Selection& where, SlotId slot) const {
    std::vector<NodeId> result;
    const SlotKind kind = graph_.slots[slot].kind;
    if (where.rank == Rank::all && core::is_registered(kind)) result.push_back(none);
    if (where.rank == Rank::kind && kind == where.kind) result.push_back(none);
    if (std::count(where.slots.begin(), where.slots.end(), slot) != 0) result.push_back(none);
    std::copy_if(where.under.begin(), where.under.end(), std::back_inserter(result),
                 [&](NodeId module) { return beneath(module, graph_.slots[slot].owner); });
    return result;
  }

  std::set<TensorId> named(const Selection& where) const {
    std::set<TensorId> result;
    for (SlotId slot = 0; slot < graph_.slots.size(); ++slot) {
      const NodeId target = graph_.slots[slot].target;
      if (target == none || graph_.nodes[target].tensor == none) continue;
      if (!through(where, slot).empty()) result.insert(graph_.nodes[target].tensor);
    }
    return result;
  }

  std::vector<std::pair<const Rule*, NodeId>> named_by(SlotId slot) const {
    std::vector<std::pair<const Rule*, NodeId>> result;
    for (const Rule& rule : rules_) {
      for (const NodeId module : through(rule.where, slot)) result.emplace_back(&rule, module);
    }
    return result;
  }

  std::vector<std::pair<Rank, Mode>> claims(SlotId slot) const {
    const auto named = named_by(slot);
    std::vector<std::pair<Rank, Mode>> result;
    for (const auto& [rule, module] : named) {
      const bool beaten = std::any_of(named.begin(), named.end(), [&, rule = rule, module = module](const auto& other) {
        if (other.first->where.rank != rule->where.rank) return other.first->where.rank > rule->where.rank;
        return module != none && other.second != none && other.second != module && beneath(module, other.second);
      });
      if (!beaten) result.emplace_back(rule->where.rank, rule->mode);
    }
    return result;
  }

  const Graph& graph_;
  const std::vector<Rule>& rules_;
  const Rules& all_;
  std::vector<std::set<Element>> elements_;
  std::vector<std::set<TensorId>> group_;
};

/// What every element of a source and its clone holds, by who has it: the source, or one group of the clone's tensors.
class Memory {
 public:
  Memory(const Graph& graph, const Naive& naive, const std::vector<at::Tensor>& clones) {
    for (TensorId id = 0; id < clones.size(); ++id) {
      const Mode mode = naive.mode(id);
      const TensorId group = *naive.group(id).begin();
      add(graph.tensors[id].value, graph.tensors[id], none);
      add(clones[id], graph.tensors[id], mode == Mode::share || mode == Mode::alias ? none : group);
      if (mode != Mode::init) continue;
      for (const Place& place : seen_.back().places) values_[place] = fresh;
    }
  }

  std::size_t size() const { return seen_.size(); }

  void write(std::size_t which, double value) {
    const at::NoGradGuard no_grad;
    if (seen_[which].tensor.is_meta()) return;
    seen_[which].tensor.fill_(value);
    for (const Place& place : seen_[which].places) values_[place] = value;
  }

  void check() const {
    for (const auto& [tensor, places] : seen_) {
      if (tensor.is_meta()) continue;
      const at::Tensor found = tensor.detach().to(at::kDouble).contiguous().flatten();
      for (std::size_t i = 0; i < places.size(); ++i) {
        ASSERT_EQ(found[static_cast<int64_t>(i)].item<double>(), values_.at(places[i]));
      }
    }
  }

 private:
  using Place = std::tuple<TensorId, const void*, int64_t>;
  struct Seen {
    at::Tensor tensor;
    std::vector<Place> places;
  };

  void add(const at::Tensor& tensor, const Tensor& source, TensorId owner) {
    Seen seen{tensor, {}};
    const at::Tensor values = source.value.detach().to(at::kDouble).contiguous().flatten();
    for (const auto& [storage, part, place] : Naive::places_of(source)) {
      seen.places.emplace_back(owner, storage, place);
      values_[seen.places.back()] = values[static_cast<int64_t>(seen.places.size()) - 1].item<double>();
    }
    seen_.push_back(std::move(seen));
  }

  std::vector<Seen> seen_;
  std::map<Place, double> values_;
};

bool is_apart(Mode mode) { return mode != Mode::share && mode != Mode::alias && mode != Mode::meta; }

/// What a front does: initialises a scratch clone, and hands over its values.
void initialise(const Graph& graph, const Plan& plan, const std::vector<at::Tensor>& clones) {
  const at::NoGradGuard no_grad;
  if (plan.init.empty()) return;
  const std::vector<at::Tensor> scratch = materialize(graph, plan_scratch(graph, plan), 1)[0];
  for (const at::Tensor& tensor : scratch) tensor.fill_(fresh);
  put_fresh(graph, plan, scratch, clones);
}

/// A clone's tensors stand to each other, and to the source, as the plan says.
void check_clone(const RandomCase& given, const Naive& naive, const Plan& plan, const std::vector<at::Tensor>& clones) {
  const std::vector<Tensor>& sources = given.made.graph.tensors;
  for (TensorId a = 0; a < sources.size(); ++a) {
    const at::Tensor& source = sources[a].value;
    const Mode mode = plan.tensors[a].mode;
    const bool casts = given.rules.dtype && naive.is_registered(a);
    ASSERT_EQ(clones[a].scalar_type(), casts ? at::kDouble : at::kFloat);
    ASSERT_EQ(clones[a].strides(), source.strides());
    ASSERT_EQ(clones[a].is_same(source), mode == Mode::share);
    ASSERT_EQ(clones[a].is_meta(), mode == Mode::meta);
    ASSERT_EQ(clones[a].requires_grad(), source.requires_grad() && !naive.is_frozen(a));
    if (mode == Mode::meta) continue;
    ASSERT_EQ(clones[a].is_leaf(), mode != Mode::differentiable || !source.requires_grad());
    const at::Tensor values = mode == Mode::init ? at::full_like(source, fresh) : source;
    ASSERT_TRUE(at::equal(clones[a], values.to(clones[a].scalar_type())));
    if (mode == Mode::alias) {
      ASSERT_TRUE(clones[a].is_alias_of(source));
    }
    for (TensorId b = 0; b < sources.size(); ++b) {
      const bool copies = is_apart(mode) && is_apart(plan.tensors[b].mode);
      if (copies && sources[a].part == sources[b].part) {
        ASSERT_EQ(overlap(clones[a], clones[b]), overlap(source, sources[b].value));
      } else if (is_apart(mode)) {
        ASSERT_FALSE(clones[a].is_alias_of(sources[b].value));
      }
    }
  }
}

TEST(RandomPlansTest, PlansAndClonesAreWhatANaiveReadingExpects) {
  int conflicts = 0, pointless = 0, impossible = 0, mixed = 0;
  for (uint32_t seed = 0; seed < 1500; ++seed) {
    SCOPED_TRACE(seed);
    RandomCase given(seed);
    const Naive naive(given);
    const Graph& graph = given.made.graph;
    const Catalog ties = catalog(graph);
    bool conflict = false;
    for (TensorId a = 0; a < graph.tensors.size(); ++a) {
      for (TensorId b = 0; b < graph.tensors.size(); ++b) {
        ASSERT_EQ(ties.groups[a] == ties.groups[b], naive.group(a).count(b) == 1);
      }
      conflict = conflict || (!naive.held(graph.tensors[a].node) && naive.modes(a).size() > 1);
    }
    conflicts += conflict;
    pointless += naive.has_pointless_rule();
    const bool can = !naive.has_impossible_option() && !naive.has_impossible_link();
    impossible += !conflict && !can;
    const std::optional<bool> half_named = naive.has_half_named_init();
    if (!conflict && !half_named) continue;  // either reading is right
    if (conflict || naive.has_pointless_rule() || !can || *half_named) {
      ASSERT_THROW(plan(graph, ties, given.rules), PlanError);
      continue;
    }
    const Plan result = plan(graph, ties, given.rules);
    std::set<Mode> met;
    for (TensorId id = 0; id < graph.tensors.size(); ++id) {
      ASSERT_EQ(result.tensors[id].held, naive.held(graph.tensors[id].node));
      const bool copied = naive.mode(id) == Mode::lazy && result.tensors[id].copied != nullptr;
      ASSERT_EQ(result.tensors[id].mode, copied ? Mode::copy : naive.mode(id));
      met.insert(result.tensors[id].mode);
    }
    mixed += met.size() > 1;
    const std::vector<at::Tensor> clones = materialize(graph, result, 1)[0];
    initialise(graph, result, clones);
    check_clone(given, naive, result, clones);
    Memory memory(graph, naive, clones);
    memory.check();
    for (int i = given.pick(4); i > 0; --i) {
      memory.write(static_cast<std::size_t>(given.pick(memory.size())), 100 + i);
      memory.check();
    }
  }
  EXPECT_GT(conflicts, 100);
  EXPECT_GT(pointless, 30);
  EXPECT_GT(impossible, 100);
  EXPECT_GT(mixed, 100);
}

}  // namespace
}  // namespace ramet::core
