/// Member lists: every kind of member, the three ways to write a list, and their policies.
#include <gtest/gtest.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include "twins.h"

namespace vendor {

// A class that one cannot edit.
struct LayerImpl : torch::nn::Module {
  LayerImpl() { weight = register_parameter("weight", torch::rand({3})); }
  torch::Tensor weight;
  std::vector<torch::nn::Linear> extras{torch::nn::Linear(1, 1)};
};

}  // namespace vendor

template <>
struct ramet::describe<vendor::LayerImpl>
    : ramet::fields<vendor::LayerImpl, &vendor::LayerImpl::weight, &vendor::LayerImpl::extras> {};
template struct ramet::enroll<vendor::LayerImpl>;

namespace {

using ramet::expect_copied;

struct Config {
  virtual ~Config() = default;
  int depth = 3;
};

struct Lock {
  Lock() = default;
  Lock(const Lock&) = delete;
};

struct Pair {  // a plain struct with tensors
  torch::Tensor key, value;
  using ramet_fields = ramet::fields<Pair, &Pair::key, &Pair::value>;
};

class EverythingImpl : public torch::nn::Module {
 public:
  EverythingImpl() {
    linear = register_module("linear", torch::nn::Linear(2, 2));
    list = {torch::nn::Linear(1, 1), linear};
    named.emplace("a", torch::nn::Linear(1, 2));
    cache = {torch::ones(2), torch::zeros(2)};
    maybe = torch::ones(1);
    any = torch::nn::AnyModule(linear);
    raw = linear.get();
    weak = linear.ptr();
    pair = {torch::ones(1), torch::ones(2)};
    ordered.insert("x", torch::ones(3));
    slots = {torch::ones(1), torch::Tensor()};
  }
  torch::nn::Linear linear{nullptr};
  std::vector<torch::nn::Linear> list;
  std::map<std::string, torch::nn::Linear> named;
  std::vector<torch::Tensor> cache;
  std::optional<torch::Tensor> maybe, absent;
  torch::nn::AnyModule any;
  torch::nn::LinearImpl* raw = nullptr;
  std::weak_ptr<torch::nn::LinearImpl> weak;
  Pair pair;
  torch::OrderedDict<std::string, torch::Tensor> ordered;
  std::array<torch::Tensor, 2> slots;
  std::string note = "a plain value";

  const torch::Tensor& secret() const { return secret_; }

 private:
  torch::Tensor secret_ = torch::ones(4);
  RAMET_MODULE(EverythingImpl, linear, list, named, cache, maybe, absent, any, raw, weak, pair, ordered, slots, secret_)
};
TORCH_MODULE(Everything);

TEST(FieldsTest, EveryKindOfMemberIsRebound) {
  Everything source;
  Everything clone = ramet::clone(source);
  EXPECT_EQ(clone->list[1].ptr(), clone->linear.ptr());
  expect_copied(source->list[0]->weight, clone->list[0]->weight);
  expect_copied(source->named.at("a")->weight, clone->named.at("a")->weight);
  for (int i = 0; i < 2; ++i) expect_copied(source->cache[i], clone->cache[i]);
  expect_copied(*source->maybe, *clone->maybe);
  EXPECT_FALSE(clone->absent);
  EXPECT_EQ(clone->any.ptr(), clone->linear.ptr());
  EXPECT_EQ(clone->raw, clone->linear.get());
  EXPECT_EQ(clone->weak.lock(), clone->linear.ptr());
  expect_copied(source->pair.key, clone->pair.key);
  expect_copied(source->pair.value, clone->pair.value);
  expect_copied(source->ordered["x"], clone->ordered["x"]);
  expect_copied(source->slots[0], clone->slots[0]);
  EXPECT_FALSE(clone->slots[1].defined());
  expect_copied(source->secret(), clone->secret());
  EXPECT_EQ(clone->note, "a plain value");
  EXPECT_EQ(source->list[1].ptr(), source->linear.ptr());
}

TEST(FieldsTest, MembersHavePaths) {
  Everything source;
  const auto options = ramet::CloneOptions().share({"list.0", "named.a.weight", "cache.1", "pair.key", "secret_"});
  Everything clone = ramet::clone(source, options);
  EXPECT_TRUE(clone->list[0]->weight.is_same(source->list[0]->weight));
  EXPECT_TRUE(clone->named.at("a")->weight.is_same(source->named.at("a")->weight));
  expect_copied(source->named.at("a")->bias, clone->named.at("a")->bias);
  expect_copied(source->cache[0], clone->cache[0]);
  EXPECT_TRUE(clone->cache[1].is_same(source->cache[1]));
  EXPECT_TRUE(clone->pair.key.is_same(source->pair.key));
  EXPECT_TRUE(clone->secret().is_same(source->secret()));
}

TEST(FieldsTest, AContainerCanBeKept) {
  Everything source;
  Everything clone = ramet::clone(source, ramet::CloneOptions().keep("cache"));
  EXPECT_TRUE(clone->cache[0].is_same(source->cache[0]));
  EXPECT_EQ(ramet::plan(source, ramet::CloneOptions().keep("cache")).find("cache")->mode, "keep");
}

TEST(FieldsTest, AClassCanBeDescribedFromOutside) {
  const auto source = std::make_shared<vendor::LayerImpl>();
  const auto clone = ramet::clone(source);
  EXPECT_TRUE(clone->weight.is_same(clone->named_parameters()["weight"]));
  expect_copied(source->weight, clone->weight);
  expect_copied(source->extras[0]->weight, clone->extras[0]->weight);
}

struct BaseImpl : torch::nn::Module {
  BaseImpl() { scale = register_parameter("scale", torch::rand({2})); }
  torch::Tensor scale;
  RAMET_MODULE(BaseImpl, scale)
};

struct DerivedImpl : BaseImpl {
  std::shared_ptr<Config> kept = std::make_shared<Config>(), copied = std::make_shared<Config>(),
                          made = std::make_shared<Config>();
  std::shared_ptr<Lock> lock = std::make_shared<Lock>();
  torch::Tensor table = torch::ones(2);

  static std::shared_ptr<Config> deeper(const Config& config) {
    auto result = std::make_shared<Config>(config);
    result->depth += 1;
    return result;
  }
  using ramet_fields =
      ramet::fields<DerivedImpl, ramet::base<BaseImpl>, ramet::keep<&DerivedImpl::kept>,
                    ramet::keep<&DerivedImpl::lock>, ramet::copy<&DerivedImpl::copied>,
                    ramet::copy<&DerivedImpl::made, &DerivedImpl::deeper>, ramet::keep<&DerivedImpl::table>>;
};

}  // namespace

template struct ramet::enroll<DerivedImpl>;

namespace {

TEST(FieldsTest, BasesAndPoliciesAreFollowed) {
  const auto source = std::make_shared<DerivedImpl>();
  const auto clone = ramet::clone(source);
  expect_copied(source->scale, clone->scale);
  EXPECT_TRUE(clone->scale.is_same(clone->named_parameters()["scale"]));
  EXPECT_EQ(clone->kept, source->kept);
  EXPECT_EQ(clone->lock, source->lock);
  EXPECT_NE(clone->copied, source->copied);
  EXPECT_EQ(clone->made->depth, 4);
  EXPECT_TRUE(clone->table.is_same(source->table));
}

struct WiderImpl : torch::nn::LinearImpl {
  using torch::nn::LinearImpl::LinearImpl;
  using ramet_fields = ramet::fields<WiderImpl, ramet::base<torch::nn::LinearImpl>>;
};

}  // namespace

template struct ramet::enroll<WiderImpl>;

namespace {

TEST(FieldsTest, LibTorchsOwnClassesAreBasesToo) {
  const auto source = std::make_shared<WiderImpl>(2, 3);
  const auto clone = ramet::clone(source);
  EXPECT_TRUE(clone->weight.is_same(clone->named_parameters()["weight"]));
  expect_copied(source->weight, clone->weight);
}

struct TreeImpl : torch::nn::Module {
  explicit TreeImpl(TreeImpl* parent = nullptr) : parent(parent) {}
  TreeImpl* parent;
  std::shared_ptr<TreeImpl> left;
  void grow() { left = register_module("left", std::make_shared<TreeImpl>(this)); }
  RAMET_MODULE(TreeImpl, parent, left)
};

TEST(FieldsTest, BackPointersFollowTheClone) {
  const auto source = std::make_shared<TreeImpl>();
  source->grow();
  const auto clone = ramet::clone(source);
  EXPECT_EQ(clone->left->parent, clone.get());
  EXPECT_EQ(source->left->parent, source.get());
}

}  // namespace
