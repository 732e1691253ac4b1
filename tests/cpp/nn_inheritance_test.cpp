/// Lists of classes that derive from others, of templates and of nested classes; and the line that one without a list
/// is told to add.
#include <gmock/gmock.h>

#include "failing.h"
#include "twins.h"

namespace shapes {

struct GrandImpl : torch::nn::Module {
  GrandImpl() { first = register_parameter("first", torch::rand({2})); }
  torch::Tensor first, first_cache = torch::rand({2});
  RAMET_MODULE(GrandImpl, first, first_cache)
};

struct ParentImpl : GrandImpl {
  ParentImpl() { second = register_module("second", torch::nn::Linear(2, 2)); }
  torch::nn::Linear second{nullptr};
  using ramet_fields = ramet::fields<ParentImpl, ramet::base<GrandImpl>, &ParentImpl::second>;
};

struct ChildImpl : ParentImpl {
  torch::Tensor third = torch::rand({3});
  using ramet_fields = ramet::fields<ChildImpl, ramet::base<ParentImpl>, &ChildImpl::third>;
};

// Mixins with tensors of their own, one in front of the module.
class Cache {
 public:
  const torch::Tensor& cached() const { return cached_; }

 private:
  torch::Tensor cached_ = torch::rand({2});

 public:
  using ramet_fields = ramet::fields<Cache, &Cache::cached_>;
};

struct Named {
  virtual ~Named() = default;
  std::vector<torch::nn::Linear> named{torch::nn::Linear(1, 2)};
  using ramet_fields = ramet::fields<Named, &Named::named>;
};

struct MixedImpl : Named, GrandImpl, Cache {
  std::shared_ptr<MixedImpl> next;
  MixedImpl* last = this;
  using ramet_fields = ramet::fields<MixedImpl, ramet::base<Named>, ramet::base<GrandImpl>, ramet::base<Cache>,
                                     &MixedImpl::next, &MixedImpl::last>;
};

}  // namespace shapes

template struct ramet::enroll<shapes::ParentImpl>;
template struct ramet::enroll<shapes::ChildImpl>;
template struct ramet::enroll<shapes::MixedImpl>;

namespace {

using ramet::expect_own;
using ramet::failing;
using testing::HasSubstr;
using testing::Not;

TEST(InheritanceTest, EveryGenerationIsRebound) {
  const auto source = std::make_shared<shapes::ChildImpl>();
  const auto clone = ramet::expect_forgets_nothing(source);
  EXPECT_TRUE(clone->first.is_same(clone->named_parameters()["first"]));
  EXPECT_EQ(clone->second.ptr(), clone->named_children()["second"]);
  expect_own(source->first, clone->first);
  expect_own(source->first_cache, clone->first_cache);
  expect_own(source->second->weight, clone->second->weight);
  expect_own(source->third, clone->third);
  const auto shared = ramet::clone(source, ramet::CloneOptions().share({"first_cache", "second.weight", "third"}));
  EXPECT_TRUE(shared->first_cache.is_same(source->first_cache));
  EXPECT_TRUE(shared->second->weight.is_same(source->second->weight));
  EXPECT_TRUE(shared->third.is_same(source->third));
}

TEST(InheritanceTest, AMiddleGenerationIsClonedByItsOwnList) {
  const std::shared_ptr<shapes::GrandImpl> source = std::make_shared<shapes::ParentImpl>();
  const auto clone = ramet::expect_forgets_nothing(source);
  EXPECT_EQ(typeid(*clone), typeid(shapes::ParentImpl));
}

TEST(InheritanceTest, MixinsAreReboundToo) {
  const auto source = std::make_shared<shapes::MixedImpl>();
  source->next = source->register_module("next", std::make_shared<shapes::MixedImpl>());
  source->next->last = source.get();
  const auto clone = ramet::expect_forgets_nothing(source);
  EXPECT_EQ(clone->next, clone->named_children()["next"]);
  EXPECT_EQ(clone->next->last, clone.get());
  EXPECT_EQ(clone->last, clone.get());
  expect_own(source->cached(), clone->cached());
  expect_own(source->named[0]->weight, clone->named[0]->weight);
  expect_own(source->first, clone->first);
  expect_own(source->next->cached(), clone->next->cached());
}

template <class Inner, int n>
struct StackImpl : torch::nn::Module {
  StackImpl() {
    for (int i = 0; i < n; ++i) layers[i] = register_module(std::to_string(i), std::make_shared<Inner>());
  }
  struct Scale : torch::nn::Module {
    torch::Tensor scale = torch::rand({n});
    RAMET_MODULE(Scale, scale)
  };
  std::array<std::shared_ptr<Inner>, n> layers;
  std::shared_ptr<Scale> scale = std::make_shared<Scale>();
  RAMET_MODULE(StackImpl, layers, scale)
};

TEST(InheritanceTest, TemplatesOfModulesHoldTemplatesOfModules) {
  const auto source = std::make_shared<StackImpl<StackImpl<shapes::GrandImpl, 3>, 2>>();
  const auto clone = ramet::expect_forgets_nothing(source);
  for (int i = 0; i < 2; ++i) {
    expect_own(source->layers[i]->layers[2]->first_cache, clone->layers[i]->layers[2]->first_cache);
    expect_own(source->layers[i]->scale->scale, clone->layers[i]->scale->scale);
  }
  expect_own(source->scale->scale, clone->scale->scale);
}

class OuterImpl : public torch::nn::Module {
  struct InnerImpl : torch::nn::Module {
    InnerImpl() { weight = register_parameter("weight", torch::rand({2})); }
    torch::Tensor weight;
    RAMET_MODULE(InnerImpl, weight)
  };
  std::shared_ptr<InnerImpl> inner_ = register_module("inner", std::make_shared<InnerImpl>());

 public:
  const torch::Tensor& weight() const { return inner_->weight; }
  RAMET_MODULE(OuterImpl, inner_)
};

TEST(InheritanceTest, PrivateNestedClassesAndMembersAreListed) {
  const auto source = std::make_shared<OuterImpl>();
  const auto clone = ramet::expect_forgets_nothing(source);
  EXPECT_TRUE(clone->weight().is_same(clone->named_parameters()["inner.weight"]));
  expect_own(source->weight(), clone->weight());
}

// What follows lists nothing.
template <class T>
struct UnlistedTemplateImpl : torch::nn::Module {
  struct WithinImpl : torch::nn::Module {};
};

struct UnlistedImpl : torch::nn::Module {
  struct WithinImpl : torch::nn::Module {};
};

struct HeirImpl : shapes::GrandImpl {};
struct HeirOfAnHeirImpl : HeirImpl {};
struct MixedHeirImpl : shapes::Cache, shapes::ParentImpl {};
struct WiderImpl : torch::nn::LinearImpl {
  WiderImpl() : LinearImpl(1, 1) {}
};
struct HeirOfATemplateImpl : StackImpl<shapes::GrandImpl, 2> {};

template <class T>
std::string told() {
  return failing([] { ramet::clone(std::make_shared<T>()); });
}

TEST(LineToAddTest, NamesTheClassAsItIsNamedWithin) {
  EXPECT_THAT(told<UnlistedImpl>(),
              HasSubstr("UnlistedImpl' lists no members, so a clone could not rebind them; write "
                        "RAMET_MODULE(UnlistedImpl, <its tensors, modules and shared state>) last in the class"));
  EXPECT_THAT(told<UnlistedImpl::WithinImpl>(), HasSubstr("write RAMET_MODULE(WithinImpl, "));
  EXPECT_THAT(told<UnlistedTemplateImpl<UnlistedImpl>>(), HasSubstr("write RAMET_MODULE(UnlistedTemplateImpl, "));
  EXPECT_THAT(told<UnlistedTemplateImpl<UnlistedImpl>::WithinImpl>(), HasSubstr("write RAMET_MODULE(WithinImpl, "));
}

template <class T>
std::string told_of_a_local_class() {
  struct LocalImpl : torch::nn::Module {};
  return told<LocalImpl>();
}

TEST(LineToAddTest, OfALocalClassComesWithTheMove) {
  const char* line = "; move it out of its function, where it can have no list, and write RAMET_MODULE(LocalImpl, ";
  EXPECT_THAT(told_of_a_local_class<std::vector<int>>(), HasSubstr(line));
  const auto told_in_a_lambda = [] {
    struct LocalImpl : torch::nn::Module {};
    return told<LocalImpl>();
  };
  EXPECT_THAT(told_in_a_lambda(), HasSubstr(line));
  EXPECT_THAT(told<UnlistedTemplateImpl<void(int)>>(), Not(HasSubstr("move")));
}

TEST(LineToAddTest, OfADerivedClassNamesTheListedBase) {
  EXPECT_THAT(told<HeirImpl>(),
              HasSubstr("write using ramet_fields = ramet::fields<HeirImpl, ramet::base<shapes::GrandImpl>, "
                        "&HeirImpl::<each tensor, module and shared state>>; last in the class, and template struct "
                        "ramet::enroll<HeirImpl>; after it, outside of any namespace"));
  EXPECT_THAT(told<HeirOfAnHeirImpl>(), HasSubstr("fields<HeirOfAnHeirImpl, ramet::base<shapes::GrandImpl>, "));
  EXPECT_THAT(told<MixedHeirImpl>(), HasSubstr("ramet::base<shapes::ParentImpl>, "));
  EXPECT_THAT(told<WiderImpl>(), HasSubstr("ramet::base<torch::nn::LinearImpl>, "));
  EXPECT_THAT(told<HeirOfATemplateImpl>(), HasSubstr("ramet::base<StackImpl<shapes::GrandImpl, 2>>, "));
}

TEST(LineToAddTest, NamesEveryPathAndTheOtherWayOut) {
  torch::nn::Sequential net{torch::nn::Linear(1, 1)};
  net->register_module("odd", std::make_shared<HeirImpl>());
  const std::string text = failing([&] { ramet::clone(net); });
  EXPECT_THAT(text, HasSubstr("'odd'"));
  EXPECT_THAT(text, HasSubstr("keep='odd'"));
}

}  // namespace
