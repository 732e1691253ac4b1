/// init in the torch::nn front: fresh values as if the modules were built anew, initialisers, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include "plan_error.h"

namespace {

using ramet::CloneOptions;
using ramet::plan_error;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StrEq;
using torch::Tensor;

struct NetImpl : torch::nn::Module {
  NetImpl() : embed(6, 4), norm(4), head(4, 6) {
    register_module("embed", embed);
    register_module("norm", norm);
    register_module("head", head);
  }
  torch::nn::Embedding embed;
  torch::nn::BatchNorm1d norm;
  torch::nn::Linear head;
  RAMET_MODULE(NetImpl, embed, norm, head)
};
TORCH_MODULE(Net);

struct BareImpl : torch::nn::Module {
  BareImpl() : inner(register_module("inner", torch::nn::Linear(3, 3))), scale(torch::ones(3)) {
    register_parameter("scale", scale);
  }
  torch::nn::Linear inner;
  Tensor scale;
  RAMET_MODULE(BareImpl, inner, scale)
};
TORCH_MODULE(Bare);

struct PrivateImpl : torch::nn::Module {
  PrivateImpl() { w = register_parameter("w", torch::ones(2)); }
  Tensor w;
  RAMET_MODULE(PrivateImpl, w)
 private:
  void reset_parameters() {}
};
TORCH_MODULE(Private);

struct UnderscoreImpl : torch::nn::Module {
  UnderscoreImpl() { w = register_parameter("w", torch::ones(2)); }
  void reset() { ADD_FAILURE() << "reset() was called"; }
  void _reset_parameters() { torch::nn::init::constant_(w, 7); }
  Tensor w;
  RAMET_MODULE(UnderscoreImpl, w)
};
TORCH_MODULE(Underscore);

std::vector<Tensor> values(const torch::nn::Module& module) {
  std::vector<Tensor> result;
  for (const Tensor& tensor : module.parameters()) result.push_back(tensor.detach().clone());
  for (const Tensor& tensor : module.buffers()) result.push_back(tensor.clone());
  return result;
}

bool same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Tensor& x, const Tensor& y) { return x.equal(y); });
}

/// Expects that init gives what the constructor does, and leaves the generator as that does.
template <class Make>
void expect_as_if_built(const Make& make) {
  torch::manual_seed(1);
  const auto source = make();
  const std::vector<Tensor> before = values(*source);
  torch::manual_seed(2);
  const auto built = make();
  const double next = torch::rand(1).template item<double>();
  torch::manual_seed(2);
  const auto clone = ramet::clone(source, CloneOptions().init(true));
  EXPECT_EQ(torch::rand(1).template item<double>(), next) << source->name();
  EXPECT_TRUE(same(values(*clone), values(*built))) << source->name();
  EXPECT_TRUE(same(values(*source), before)) << source->name();
}

TEST(InitNnTest, ValuesAreThoseOfModulesBuiltAnew) {
  expect_as_if_built([] { return Net(); });
  expect_as_if_built([] { return torch::nn::LSTM(torch::nn::LSTMOptions(3, 4).num_layers(2).bidirectional(true)); });
  expect_as_if_built([] { return torch::nn::GRUCell(3, 4); });
  expect_as_if_built([] {
    torch::nn::Sequential built;  // one by one: the order in which a call makes its arguments is the compiler's
    built->push_back(torch::nn::Conv2d(1, 2, 3));
    built->push_back(torch::nn::GroupNorm(1, 2));
    built->push_back(torch::nn::Bilinear(2, 2, 1));
    return built;
  });
  expect_as_if_built([] { return torch::nn::MultiheadAttention(torch::nn::MultiheadAttentionOptions(8, 2)); });
}

TEST(InitNnTest, OnlyWhatIsNamedIsFresh) {
  const Net source;
  Net clone = ramet::clone(source, CloneOptions().init("head.weight").share("norm"));
  EXPECT_THAT(ramet::relation(source, clone).different(), ElementsAre("head.weight"));
  EXPECT_TRUE(clone->norm->weight.is_same(source->norm->weight));
  EXPECT_TRUE(clone->head->weight.is_same(clone->head->named_parameters()["weight"]));
  EXPECT_TRUE(clone->head->weight.requires_grad());
  const Tensor before = source->head->weight.detach().clone();
  const torch::NoGradGuard no_grad;
  clone->head->weight.fill_(7);
  EXPECT_TRUE(source->head->weight.equal(before));
}

TEST(InitNnTest, ResetIsNotCalledAndTheUnderscoreIsFound) {
  const Underscore source;
  EXPECT_TRUE(ramet::clone(source, CloneOptions().init(true))->w.equal(torch::full(2, 7.0)));
  EXPECT_TRUE(source->w.equal(torch::ones(2)));
}

TEST(InitNnTest, NClonesAreDrawnOneAfterTheOther) {
  const Net source;
  torch::manual_seed(3);
  const auto many = ramet::clones(source, 3, CloneOptions().init(true));
  torch::manual_seed(3);
  for (const Net& clone : many) {
    EXPECT_TRUE(same(values(*clone), values(*ramet::clone(source, CloneOptions().init(true)))));
  }
  EXPECT_FALSE(many[0]->head->weight.equal(many[1]->head->weight));
}

TEST(InitNnTest, AnInitializerGetsScratchCopiesOfTheOwners) {
  const Bare source;
  const std::vector<Tensor> before = values(*source);
  std::vector<std::string> names;
  const auto sloppy = [&](torch::nn::Module& module) {
    names.push_back(module.name());
    for (Tensor& parameter : module.parameters()) parameter.detach().fill_(5);
  };
  Bare clone =
      ramet::clone(source, CloneOptions().init("scale").share("inner.weight").keep("inner.bias").initializer(sloppy));
  EXPECT_EQ(names.size(), 1u);
  EXPECT_TRUE(clone->scale.equal(torch::full(3, 5.0)));
  EXPECT_TRUE(clone->inner->weight.is_same(source->inner->weight));
  EXPECT_TRUE(same(values(*source), before));
  Bare kept = ramet::clone(source, CloneOptions().init("scale").keep("inner").initializer(sloppy));
  EXPECT_EQ(kept->inner.ptr(), source->inner.ptr());
  EXPECT_TRUE(same(values(*source), before));
}

TEST(InitNnTest, AnInitializerThatThrowsTouchesNothing) {
  const Net source;
  const std::vector<Tensor> before = values(*source);
  const auto in_use = ramet::memory::stats().in_use;
  EXPECT_THROW(ramet::clone(source, CloneOptions().init(true).initializer([](torch::nn::Module& module) {
                 for (Tensor& parameter : module.parameters()) parameter.detach().zero_();
                 throw std::runtime_error("no");
               })),
               std::runtime_error);
  EXPECT_TRUE(same(values(*source), before));
  EXPECT_EQ(ramet::memory::stats().in_use, in_use);
}

TEST(InitNnTest, ValuesAreDrawnInTheDtypeAskedFor) {
  const torch::nn::Linear source(3, 3);
  torch::manual_seed(6);
  torch::nn::Linear built(3, 3);
  torch::manual_seed(6);
  const auto clone = ramet::clone(source, CloneOptions().init(true).dtype(torch::kDouble));
  EXPECT_EQ(clone->weight.dtype(), torch::kDouble);
  EXPECT_LE(clone->weight.abs().max().item<double>(), 1 / std::sqrt(3.0));
  EXPECT_FALSE(clone->weight.equal(source->weight.to(torch::kDouble)));
}

TEST(InitNnTest, ASkeletonGetsValues) {
  const Net skeleton = ramet::clone(Net(), CloneOptions().meta(true));
  torch::manual_seed(7);
  const Net built;
  torch::manual_seed(7);
  const Net clone = ramet::clone(skeleton, CloneOptions().init(true).device(torch::kCPU));
  EXPECT_TRUE(same(values(*clone), values(*built)));
  EXPECT_THAT(plan_error([&] { ramet::clone(skeleton, CloneOptions().init(true)); }),
              HasSubstr("there are no values on the meta device; give the device that they shall be on"));
}

TEST(InitNnTest, AKnownModuleWithoutOneAndATiedTensorAreErrors) {
  EXPECT_THAT(plan_error([] { ramet::clone(Bare(), CloneOptions().init(true)); }),
              StrEq("clone: the source itself has neither reset_parameters nor _reset_parameters, and init=true names "
                    "tensors of it; give initializer, or name them in copy or share"));
  EXPECT_THAT(plan_error([] { ramet::clone(Private(), CloneOptions().init("w")); }), HasSubstr("has neither"));
  torch::nn::Sequential tied(torch::nn::Linear(2, 2), torch::nn::Linear(2, 2));
  ramet::tie(tied, {"0.weight", "1.weight"});
  EXPECT_THAT(plan_error([&] { ramet::clone(tied, CloneOptions().init("0")); }),
              StrEq("clone: init=\"0\" names '0.weight', which is tied to '1.weight': that would be initialised too; "
                    "name it in init as well, or say untie='0.weight' for a tensor of its own there"));
  auto clone = ramet::clone(tied, CloneOptions().init("0").untie("0.weight"));
  EXPECT_FALSE(clone[0]->named_parameters()["weight"].equal(clone[1]->named_parameters()["weight"]));
  EXPECT_THAT(plan_error([] { ramet::clone(Net(), CloneOptions().initializer([](torch::nn::Module&) {})); }),
              StrEq("clone: initializer is given without init, which says what is to be initialised: give init too"));
}

}  // namespace
