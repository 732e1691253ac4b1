/// What member lists and copy constructors may hold in store: pointers without an owner, state with tensors in it, one
/// address under two types, copies that differ from what was copied.
#include <gmock/gmock.h>

#include "twins.h"

namespace {

using ramet::CloneOptions;
using testing::HasSubstr;

struct NodeImpl : torch::nn::Module {
  explicit NodeImpl(NodeImpl* parent = nullptr) : parent(parent) {
    weight = register_parameter("weight", torch::rand({2}));
  }
  std::shared_ptr<NodeImpl> grow() {
    child = register_module("child", std::make_shared<NodeImpl>(this));
    child->weak = std::static_pointer_cast<NodeImpl>(shared_from_this());
    return child;
  }
  torch::Tensor weight;
  NodeImpl* parent;
  std::weak_ptr<NodeImpl> weak;
  std::shared_ptr<NodeImpl> child;
  RAMET_MODULE(NodeImpl, weight, parent, weak, child)
};

TEST(EdgesTest, WeakEdgesFollowTheClone) {
  const auto source = std::make_shared<NodeImpl>();
  source->grow();
  const auto clone = ramet::clone(source);
  EXPECT_EQ(clone->child->parent, clone.get());
  EXPECT_EQ(clone->child->weak.lock(), clone);
  EXPECT_EQ(source->child->parent, source.get());
}

TEST(EdgesTest, AWeakEdgeToWhatIsNotClonedStaysAsItIs) {
  const auto source = std::make_shared<NodeImpl>();
  const auto clone = ramet::clone(source->grow());
  EXPECT_EQ(clone->parent, source.get());
  EXPECT_EQ(clone->weak.lock(), source);
  EXPECT_FALSE(clone->weight.is_alias_of(source->child->weight));
  EXPECT_EQ(ramet::plan(source->child).size(), 1u);
}

TEST(EdgesTest, AnUnlistedClassBehindAWeakEdgeDoesNotMatter) {
  struct ForgottenImpl : NodeImpl {};
  const auto source = std::make_shared<ForgottenImpl>();
  EXPECT_EQ(ramet::clone(source->grow())->parent, source.get());
}

struct Cache {
  torch::Tensor key = torch::ones(2), value;
  std::shared_ptr<Cache> next;
  using ramet_fields = ramet::fields<Cache, &Cache::key, &Cache::value, &Cache::next>;
};

struct CachedImpl : torch::nn::Module {
  CachedImpl() {
    weight = register_parameter("weight", torch::rand({3}));
    cache->value = weight;
    table->emplace_back(2, 2);
  }
  torch::Tensor weight;
  std::shared_ptr<Cache> cache = std::make_shared<Cache>(), again = cache;
  std::shared_ptr<std::vector<torch::nn::Linear>> table = std::make_shared<std::vector<torch::nn::Linear>>();
  std::shared_ptr<const Cache> fixed = std::make_shared<Cache>();
  RAMET_MODULE(CachedImpl, weight, cache, again, table, fixed)
};

TEST(EdgesTest, SharedStateWithAListIsReboundToo) {
  const auto source = std::make_shared<CachedImpl>();
  const auto clone = ramet::expect_forgets_nothing(source);
  EXPECT_NE(clone->cache, source->cache);
  EXPECT_EQ(clone->again, clone->cache);
  EXPECT_TRUE(clone->cache->value.is_same(clone->weight));
  EXPECT_TRUE(clone->cache->key.equal(source->cache->key));
  EXPECT_FALSE(clone->cache->key.is_alias_of(source->cache->key));
  EXPECT_FALSE(clone->fixed->key.is_alias_of(source->fixed->key));
  EXPECT_NE((*clone->table)[0].ptr(), (*source->table)[0].ptr());
  source->cache->key.fill_(7);
  EXPECT_EQ(clone->cache->key.sum().item<float>(), 2);
}

TEST(EdgesTest, TensorsInSharedStateHavePaths) {
  const auto source = std::make_shared<CachedImpl>();
  const auto clone = ramet::clone(source, CloneOptions().share({"cache.key", "table.0.bias"}));
  EXPECT_TRUE(clone->cache->key.is_same(source->cache->key));
  EXPECT_TRUE((*clone->table)[0]->bias.is_same((*source->table)[0]->bias));
  EXPECT_FALSE((*clone->table)[0]->weight.is_alias_of((*source->table)[0]->weight));
}

TEST(EdgesTest, ALongChainOfStateNeedsNoStack) {
  const auto source = std::make_shared<CachedImpl>();
  std::shared_ptr<Cache> last = source->cache;
  for (int i = 0; i < 3000; ++i) last = last->next = std::make_shared<Cache>();
  last->next = source->cache;
  const auto clone = ramet::clone(source);
  std::shared_ptr<Cache> at = clone->cache;
  for (int i = 0; i < 3000; ++i) at = at->next;
  EXPECT_EQ(at->next, clone->cache);
  EXPECT_FALSE(at->key.is_alias_of(last->key));
  for (auto& chain : {source, clone}) chain->cache->next.reset();  // a circle owns itself
}

struct Whole {
  int first = 7;
  std::vector<int> rest{1, 2, 3};
};

struct AddressesImpl : torch::nn::Module {
  std::shared_ptr<Whole> whole = std::make_shared<Whole>();
  std::shared_ptr<int> part{whole, &whole->first};
  RAMET_MODULE(AddressesImpl, part, whole)
};

TEST(EdgesTest, OneAddressUnderTwoTypesIsTwoStates) {
  const auto source = std::make_shared<AddressesImpl>();
  ASSERT_EQ(static_cast<void*>(source->part.get()), static_cast<void*>(source->whole.get()));
  const auto clone = ramet::clone(source);
  EXPECT_EQ(clone->whole->rest, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(*clone->part, 7);
  *clone->part = 8;
  EXPECT_EQ(source->whole->first, 7);
}

struct SelectiveImpl : torch::nn::Module {
  SelectiveImpl() { weight = register_parameter("weight", torch::rand({2})); }
  // Starts without the cache, and with one element more in the list.
  SelectiveImpl(const SelectiveImpl& other) : Module(other), weight(other.weight), tail(other.tail), list(other.list) {
    list.push_back(torch::zeros(1));
  }
  torch::Tensor weight, cache = torch::ones(5), tail = torch::ones(6);
  std::vector<torch::Tensor> list{torch::ones(7)};
  RAMET_MODULE(SelectiveImpl, weight, cache, tail, list)
};

TEST(EdgesTest, ACopyConstructorMayLeaveOutAndAddMembers) {
  const auto source = std::make_shared<SelectiveImpl>();
  source->cache = torch::ones(5);
  const auto clone = ramet::clone(source);
  EXPECT_TRUE(clone->tail.equal(source->tail));
  EXPECT_FALSE(clone->tail.is_alias_of(source->tail));
  EXPECT_TRUE(clone->list[0].equal(source->list[0]));
  EXPECT_FALSE(clone->list[0].is_alias_of(source->list[0]));
  ASSERT_EQ(clone->list.size(), 2u);
  EXPECT_EQ(clone->list[1].numel(), 1);
}

struct ForgetfulImpl : torch::nn::Module {
  ForgetfulImpl() { weight = register_parameter("weight", torch::rand({2})); }
  ForgetfulImpl(const ForgetfulImpl& other) : Module(), weight(other.weight) {}  // registers nothing
  torch::Tensor weight;
  RAMET_MODULE(ForgetfulImpl, weight)
};

template <class Error, class Run>
std::string message(const Run& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what_without_backtrace();
  }
  return "no error";
}

TEST(EdgesTest, ACopyConstructorThatRegistersNothingIsAnError) {
  torch::nn::Sequential net;
  net->register_module("odd", std::make_shared<ForgetfulImpl>());
  const std::string text = message<ramet::UncloneableError>([&] { ramet::clone(net); });
  EXPECT_THAT(text, HasSubstr("slot 'odd': the copy constructor of type"));
  EXPECT_THAT(text, HasSubstr("torch::nn::Module"));
}

struct UnlistedImpl : torch::nn::Module {
  torch::Tensor forward(torch::Tensor x) { return x; }
};

struct ListedImpl : UnlistedImpl {
  RAMET_MODULE(ListedImpl)
};

TEST(EdgesTest, AnAnyModuleOfAnUnlistedStaticTypeIsRefusedBeforeAnythingIsMade) {
  torch::nn::Sequential net;
  net->push_back(torch::nn::AnyModule(std::shared_ptr<UnlistedImpl>(std::make_shared<ListedImpl>())));
  for (const auto& run : {std::function([&] { ramet::clone(net); }), std::function([&] { ramet::plan(net); })}) {
    const std::string text = message<ramet::UncloneableError>(run);
    EXPECT_THAT(text, HasSubstr("it is held by an AnyModule whose static type"));
    EXPECT_THAT(text, HasSubstr("RAMET_MODULE(UnlistedImpl, "));
  }
}

template <int n>
struct TemplateImpl : torch::nn::Module {
  TemplateImpl() { weight = register_parameter("weight", torch::rand({n})); }
  torch::Tensor weight;
  RAMET_MODULE(TemplateImpl, weight)
};

TEST(EdgesTest, AClassTemplateIsEnrolledByTheMacro) {
  ramet::expect_forgets_nothing(std::make_shared<TemplateImpl<3>>());
  const std::shared_ptr<torch::nn::Module> unnamed = std::make_shared<TemplateImpl<4>>();
  ramet::expect_forgets_nothing(unnamed);
}

template <class T>
struct UnlistedTemplateImpl : torch::nn::Module {};

TEST(EdgesTest, TheLineToAddToATemplateHasNoArguments) {
  const std::string text = message<ramet::UncloneableError>(
      [] { ramet::clone(std::make_shared<UnlistedTemplateImpl<torch::nn::LinearImpl>>()); });
  EXPECT_THAT(text, HasSubstr("RAMET_MODULE(UnlistedTemplateImpl, "));
  EXPECT_THAT(text, HasSubstr("UnlistedTemplateImpl<torch::nn::LinearImpl>"));
}

struct AbstractImpl : torch::nn::Module {
  AbstractImpl() { weight = register_parameter("weight", torch::rand({2})); }
  virtual int depth() const = 0;
  torch::Tensor weight;
  RAMET_MODULE(AbstractImpl, weight)
};

struct ConcreteImpl : AbstractImpl {
  int depth() const override { return 1; }
  torch::Tensor extra = torch::ones(3);
  using ramet_fields = ramet::fields<ConcreteImpl, ramet::base<AbstractImpl>, &ConcreteImpl::extra>;
};

}  // namespace

template struct ramet::enroll<ConcreteImpl>;

namespace {

TEST(EdgesTest, AnAbstractBaseMayHaveAList) {
  const std::shared_ptr<AbstractImpl> source = std::make_shared<ConcreteImpl>();
  const auto clone = ramet::expect_forgets_nothing(source);
  EXPECT_TRUE(clone->weight.is_same(clone->named_parameters()["weight"]));
  EXPECT_FALSE(dynamic_cast<ConcreteImpl&>(*clone).extra.is_alias_of(dynamic_cast<ConcreteImpl&>(*source).extra));
}

TEST(EdgesTest, UndefinedAndNullSlotsStaySo) {
  const auto source = std::make_shared<torch::nn::Module>();
  source->register_parameter("none", torch::Tensor(), false);
  source->register_module("null", std::shared_ptr<torch::nn::Module>());
  source->register_parameter("last", torch::rand({2}));
  const auto clone = ramet::clone(source);
  EXPECT_FALSE(clone->named_parameters(false).contains("none"));
  EXPECT_FALSE(clone->named_parameters(false)["last"].is_alias_of(source->named_parameters(false)["last"]));
  EXPECT_EQ(clone->named_children()["null"], nullptr);
}

TEST(EdgesTest, KeysWithDotsHaveNoPathAndAreClonedAllTheSame) {
  torch::nn::Linear first(2, 2), second(2, 2);
  const std::map<std::string, torch::nn::Linear> session{{"a.b", first}, {"c", second}};
  const auto clone = ramet::clone(session, CloneOptions().share(true).copy("c"));
  EXPECT_TRUE(clone.at("a.b")->weight.is_same(first->weight));
  EXPECT_FALSE(clone.at("c")->weight.is_alias_of(second->weight));
  EXPECT_EQ(ramet::plan(session).size(), 2u);
}

}  // namespace
