/// Every kind of member that a list may name: its tensors are the clone's own, or the source's where a rule says so.
#include <gmock/gmock.h>

#include <mutex>

#include "failing.h"
#include "twins.h"

namespace {

using ramet::CloneOptions;
using ramet::failing;
using testing::HasSubstr;
using torch::Tensor;
using torch::nn::AnyModule;
using torch::nn::Linear;
using torch::nn::LinearImpl;

struct Pair {
  Tensor key = torch::rand({2}), value = torch::rand({3});
  using ramet_fields = ramet::fields<Pair, &Pair::key, &Pair::value>;
};

struct Shelf {
  std::vector<Pair> pairs{Pair(), Pair()};
  Linear linear{2, 2};
  using ramet_fields = ramet::fields<Shelf, &Shelf::pairs, &Shelf::linear>;
};

class HolderImpl : public torch::nn::Module {
 public:
  HolderImpl() {
    nested["a"] = {std::pair(torch::rand({2}), Linear(2, 3)), std::nullopt, std::pair(torch::rand({2}), Linear(2, 3))};
    ordered.insert("x", Linear(1, 1));
    kept_tensors = {torch::rand({2})};
  }
  Tensor plain = torch::rand({2});
  std::optional<Tensor> maybe = torch::rand({2});
  std::optional<Linear> maybe_linear = Linear(2, 2);
  std::vector<Linear> holders{Linear(1, 2), nullptr, Linear(2, 1)};
  std::vector<std::shared_ptr<torch::nn::Module>> modules{Linear(1, 2).ptr(), nullptr, Linear(2, 1).ptr()};
  std::vector<AnyModule> any{AnyModule(Linear(1, 2)), AnyModule(), AnyModule(Linear(2, 1))};
  std::vector<torch::nn::NamedAnyModule> named{{"first", Linear(1, 2)}};
  std::deque<Tensor> deque{torch::rand({1}), Tensor(), torch::rand({2})};
  std::list<Linear> list{Linear(1, 2), Linear(2, 1)};
  std::array<Linear, 2> array{Linear(1, 2), nullptr};
  Tensor layers[3] = {torch::rand({1}), Tensor(), torch::rand({2})};
  std::pair<Tensor, int> pair{torch::rand({2}), 5};
  std::tuple<Tensor, std::string, Linear> tuple{torch::rand({2}), "plain", Linear(1, 2)};
  std::variant<std::monostate, Tensor, Linear> tensor_choice = torch::rand({2}), linear_choice = Linear(1, 2);
  std::map<std::string, Tensor> by_name{{"a", torch::rand({2})}};
  std::unordered_map<int, Linear> by_number{{7, Linear(1, 2)}, {-1, nullptr}};
  torch::OrderedDict<std::string, Linear> ordered;
  std::map<std::string, std::vector<std::optional<std::pair<Tensor, Linear>>>> nested;
  Pair described;
  std::vector<Shelf> shelves{Shelf(), Shelf()};
  std::vector<Tensor> kept_tensors;
  std::vector<std::shared_ptr<std::mutex>> locks{std::make_shared<std::mutex>()};
  const std::vector<int> sizes{1, 2};
  std::set<std::string> words{"a"};

  const Tensor& secret() const { return secret_; }

 private:
  Tensor secret_ = torch::rand({2});
  using Self = HolderImpl;

 public:
  using ramet_fields =
      ramet::fields<Self, &Self::plain, &Self::maybe, &Self::maybe_linear, &Self::holders, &Self::modules, &Self::any,
                    &Self::named, &Self::deque, &Self::list, &Self::array, &Self::layers, &Self::pair, &Self::tuple,
                    &Self::tensor_choice, &Self::linear_choice, &Self::by_name, &Self::by_number, &Self::ordered,
                    &Self::nested, &Self::described, &Self::shelves, ramet::keep<&Self::kept_tensors>,
                    ramet::keep<&Self::locks>, &Self::sizes, &Self::words, &Self::secret_>;
};
TORCH_MODULE(Holder);

}  // namespace

template struct ramet::enroll<HolderImpl>;

namespace {

struct MemberCase {
  std::string path;
  std::function<const Tensor&(const HolderImpl&)> tensor;
};

void PrintTo(const MemberCase& it, std::ostream* out) { *out << it.path; }

const Tensor& weight(const std::shared_ptr<torch::nn::Module>& module) {
  return dynamic_cast<const LinearImpl&>(*module).weight;
}

std::vector<MemberCase> members() {
  using H = const HolderImpl&;
  return {{"plain", [](H it) -> auto& {return it.plain;
}
}  // namespace
, {"secret_", [](H it) -> auto& {return it.secret();
}
}
, {"maybe", [](H it) -> auto& {return *it.maybe;
}
}
, {"maybe_linear.weight", [](H it) -> auto& {return (*it.maybe_linear)->weight;
}
}
, {"holders.0.weight", [](H it) -> auto& {return it.holders[0]->weight;
}
}
, {"holders.2.bias", [](H it) -> auto& {return it.holders[2]->bias;
}
}
, {"modules.2.weight", [](H it) -> auto& {return weight(it.modules[2]);
}
}
, {"any.2.weight", [](H it) -> auto& {return weight(it.any[2].ptr());
}
}
, {"named.0.weight", [](H it) -> auto& {return weight(it.named[0].module().ptr());
}
}
, {"deque.2", [](H it) -> auto& {return it.deque[2];
}
}
, {"list.1.weight", [](H it) -> auto& {return it.list.back()->weight;
}
}
, {"array.0.weight", [](H it) -> auto& {return it.array[0]->weight;
}
}
, {"layers.0", [](H it) -> auto& {return it.layers[0];
}
}
, {"layers.2", [](H it) -> auto& {return it.layers[2];
}
}
, {"pair.0", [](H it) -> auto& {return it.pair.first;
}
}
, {"tuple.0", [](H it) -> auto& {return std::get<0>(it.tuple);
}
}
, {"tuple.2.bias", [](H it) -> auto& {return std::get<2>(it.tuple)->bias;
}
}
, {"tensor_choice", [](H it) -> auto& {return std::get<Tensor>(it.tensor_choice);
}
}
, {"linear_choice.weight", [](H it) -> auto& {return std::get<Linear>(it.linear_choice)->weight;
}
}
, {"by_name.a", [](H it) -> auto& {return it.by_name.at("a");
}
}
, {"by_number.7.weight", [](H it) -> auto& {return it.by_number.at(7)->weight;
}
}
, {"ordered.x.weight", [](H it) -> auto& {return it.ordered["x"]->weight;
}
}
, {"nested.a.0.0", [](H it) -> auto& {return it.nested.at("a")[0]->first;
}
}
, {"nested.a.2.1.weight", [](H it) -> auto& {return it.nested.at("a")[2]->second->weight;
}
}
, {"described.value", [](H it) -> auto& {return it.described.value;
}
}
, {"shelves.1.pairs.1.key", [](H it) -> auto& {return it.shelves[1].pairs[1].key;
}
}
, {"shelves.0.linear.bias", [](H it) -> auto& {return it.shelves[0].linear->bias;
}
}
,
}
;
}

class MemberTest : public testing::TestWithParam<MemberCase> {
 protected:
  const torch::NoGradGuard no_grad_;
  const Holder source_;
  const Tensor& own_ = GetParam().tensor(*source_);
};

TEST_P(MemberTest, IsTheClonesOwn) {
  const Holder clone = ramet::clone(source_, CloneOptions().check(true));
  ramet::expect_own(own_, GetParam().tensor(*clone));
}

TEST_P(MemberTest, IsSharedByItsPath) {
  const std::string& path = GetParam().path;
  const Holder clone = ramet::clone(source_, CloneOptions().share(path));
  EXPECT_TRUE(GetParam().tensor(*clone).is_same(own_));
  EXPECT_EQ(ramet::relation(source_, clone)[path], "shared");
  for (const MemberCase& it : members()) {
    EXPECT_EQ(it.tensor(*clone).is_same(it.tensor(*source_)), it.path == path) << it.path;
  }
  own_.fill_(9);
  EXPECT_TRUE(GetParam().tensor(*clone).equal(torch::full_like(own_, 9)));
}

INSTANTIATE_TEST_SUITE_P(Members, MemberTest, testing::ValuesIn(members()), [](const auto& it) {
  std::string name = it.param.path;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
});

TEST(MembersTest, WhatIsEmptyStaysEmptyAndWhatIsKeptIsTheSources) {
  const Holder source, clone = ramet::clone(source);
  EXPECT_TRUE(clone->holders[1].is_empty() && clone->any[1].is_empty() && clone->array[1].is_empty());
  EXPECT_TRUE(clone->by_number.at(-1).is_empty());
  EXPECT_EQ(clone->modules[1], nullptr);
  EXPECT_FALSE(clone->deque[1].defined() || clone->layers[1].defined() || clone->nested.at("a")[1]);
  EXPECT_EQ(clone->named[0].name(), "first");
  EXPECT_EQ(std::get<1>(clone->tuple), "plain");
  EXPECT_EQ(clone->pair.second, 5);
  EXPECT_EQ(clone->sizes, source->sizes);
  EXPECT_EQ(clone->words, source->words);
  EXPECT_TRUE(clone->kept_tensors[0].is_same(source->kept_tensors[0]));
  EXPECT_EQ(clone->locks[0], source->locks[0]);
}

struct EmptyImpl : torch::nn::Module {
  EmptyImpl() { register_parameter("bias", bias, false); }
  Tensor bias, tensor;
  std::optional<Tensor> maybe;
  std::optional<std::optional<Linear>> twice = std::optional<Linear>();
  std::variant<int, Tensor> choice = 5;
  Linear holder{nullptr};
  std::shared_ptr<torch::nn::Module> module;
  std::shared_ptr<Pair> state;
  AnyModule any;
  std::vector<Linear> list{nullptr, Linear(1, 1)};
  std::map<std::string, Tensor> dotted{{"a.b", Tensor()}, {"a.c", torch::rand({1})}};
  RAMET_MODULE(EmptyImpl, bias, tensor, maybe, twice, choice, holder, module, state, any, list, dotted)
};

TEST(MembersTest, ASlotThatHoldsNothingIsMatched) {
  const auto source = std::make_shared<EmptyImpl>();
  for (const char* path :
       {"bias", "tensor", "maybe", "twice", "choice", "holder", "module", "state", "any", "list.0"}) {
    for (const CloneOptions& options : {CloneOptions().share(path), CloneOptions().keep(path)}) {
      EXPECT_EQ(failing([&] { ramet::clone(source, options); }), "") << path;
    }
    EXPECT_EQ(failing([&] {
                ramet::assign(source, {{path, torch::rand({1})}});
              }),
              "assign: '" + std::string(path) + "' holds None; register a tensor or a module there first");
  }
  EXPECT_THAT(failing([&] { ramet::clone(source, CloneOptions().share("nowhere")); }), HasSubstr("matches nothing"));
  const auto clone = ramet::clone(source);
  EXPECT_FALSE(clone->bias.defined() || clone->tensor.defined() || clone->maybe || clone->state || clone->module);
  EXPECT_EQ(std::get<int>(clone->choice), 5);
  EXPECT_FALSE(clone->dotted.at("a.b").defined());
  EXPECT_FALSE(clone->dotted.at("a.c").is_alias_of(source->dotted.at("a.c")));
  EXPECT_EQ(ramet::plan(source).size(), 2u) << "of list.1: what has no path is not listed";
}

TEST(MembersTest, AMemberThatOneSideHasIsDifferent) {
  const auto a = std::make_shared<EmptyImpl>(), b = ramet::clone(a);
  a->maybe = torch::rand({2});
  EXPECT_EQ(ramet::relation(a, b)["maybe"], "different");
}

enum class Color { red, green };

struct KeysImpl : torch::nn::Module {
  std::map<std::pair<int, int>, Tensor> by_place{{{0, 1}, torch::rand({1})}, {{1, 0}, torch::rand({2})}};
  std::map<Color, Linear> by_color{{Color::red, Linear(1, 2)}, {Color::green, Linear(2, 1)}};
  std::unordered_map<double, Tensor> by_size{{0.5, torch::rand({1})}, {1.5, torch::rand({2})}, {2.5, torch::rand({3})}};
  RAMET_MODULE(KeysImpl, by_place, by_color, by_size)
};

TEST(MembersTest, AKeyThatNoPathCanHaveIsNoObstacle) {
  const auto source = std::make_shared<KeysImpl>();
  const auto clone = ramet::clone(source, CloneOptions().check(true));
  for (const auto& [key, tensor] : source->by_place) ramet::expect_copied(tensor, clone->by_place.at(key));
  for (const auto& [key, linear] : source->by_color)
    ramet::expect_copied(linear->weight, clone->by_color.at(key)->weight);
  for (const auto& [key, tensor] : source->by_size) ramet::expect_copied(tensor, clone->by_size.at(key));
  EXPECT_EQ(ramet::plan(source).size(), 0u);
}

struct PeerImpl : torch::nn::Module {
  explicit PeerImpl(torch::nn::Module& owner) : owner(owner), others{&owner, nullptr} {
    weight = register_parameter("weight", torch::rand({2}));
  }
  std::reference_wrapper<torch::nn::Module> owner;
  std::vector<const torch::nn::Module*> others;
  Tensor weight;
  RAMET_MODULE(PeerImpl, owner, others, weight)
};

struct OwnerImpl : torch::nn::Module {
  OwnerImpl() { peer = register_module("peer", std::make_shared<PeerImpl>(*this)); }
  std::shared_ptr<PeerImpl> peer;
  RAMET_MODULE(OwnerImpl, peer)
};

TEST(MembersTest, ReferencesAndListsOfPointersFollowTheClone) {
  const auto source = std::make_shared<OwnerImpl>();
  const auto clone = ramet::expect_forgets_nothing(source);
  EXPECT_EQ(&clone->peer->owner.get(), clone.get());
  EXPECT_EQ(clone->peer->others, (std::vector<const torch::nn::Module*>{clone.get(), nullptr}));
  EXPECT_EQ(&source->peer->owner.get(), source.get());
  EXPECT_EQ(&ramet::clone(source->peer)->owner.get(), source.get());
}

struct ClosureImpl : torch::nn::Module {
  ClosureImpl() { weight = register_parameter("weight", torch::ones({2})); }
  Tensor weight;
  std::function<Tensor(const Tensor&)> scale;
  RAMET_MODULE(ClosureImpl, weight)
};

TEST(MembersTest, AFunctionIsCopiedAndWhatItCapturedStaysTheSources) {
  const torch::NoGradGuard no_grad;
  const auto source = std::make_shared<ClosureImpl>();
  const Tensor factor = torch::full({2}, 2);
  source->scale = [factor](const Tensor& x) { return x * factor; };
  const auto clone = ramet::clone(source);
  source->scale = nullptr;
  factor.fill_(3);
  EXPECT_TRUE(clone->scale(clone->weight).equal(torch::full({2}, 3.0)));
  source->scale = [weight = source->weight](const Tensor& x) { return x * weight; };
  EXPECT_THAT(failing([&] { ramet::clone(source, CloneOptions().check(true)); }), HasSubstr("'weight'"));
}

}  // namespace
