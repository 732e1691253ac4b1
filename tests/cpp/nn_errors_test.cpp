/// An error of clone, clones or plan in the torch::nn front: nothing has been allocated by then, and nothing of the
/// source has changed.
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <ramet/optimizers.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

namespace {

using ramet::CloneOptions;

/// Counts what torch itself is asked for; clones' own memory is in ramet::memory::stats.
class CountingAllocator final : public c10::Allocator {
 public:
  CountingAllocator() : before_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, 0xff); }
  ~CountingAllocator() override { c10::SetCPUAllocator(before_, 0xff); }

  c10::DataPtr allocate(std::size_t n) override {
    bytes += n;
    return before_->allocate(n);
  }
  void copy_data(void* to, const void* from, std::size_t n) const override { default_copy_data(to, from, n); }

  std::size_t bytes = 0;

 private:
  c10::Allocator* before_;
};

struct NetImpl : torch::nn::Module {
  NetImpl() : embed(600, 1000), norm(torch::nn::LayerNormOptions({1000})), head(1000, 600) {
    register_module("embed", embed);
    register_module("norm", norm);
    register_module("head", head);
    register_module("again", norm);
    again = norm;
    table = register_buffer("table", torch::eye(3).to_sparse());
    wave = register_buffer("wave", torch::ones({3}, torch::kComplexFloat));
    bits = register_buffer("bits", norm->bias.detach().view(torch::kInt));
    tied = register_parameter("tied", embed->weight);
    names = std::make_shared<std::string>("run");
    norm->forward(torch::ones({1, 1000})).sum().backward();
  }
  torch::nn::Embedding embed;
  torch::nn::LayerNorm norm, again{nullptr};
  torch::nn::Linear head;
  torch::Tensor table, wave, bits, tied;
  std::shared_ptr<std::string> names;
  RAMET_MODULE(NetImpl, embed, norm, again, head, table, wave, bits, tied, names)
};
TORCH_MODULE(Net);

/// All that can be told of a model's tensors and modules from outside.
std::vector<std::string> snapshot(const Net& net) {
  std::vector<std::string> result;
  const auto add = [&](const auto& list) {
    for (const auto& item : list) {
      const torch::Tensor& it = item.value();
      std::ostringstream text;
      text << item.key() << ' ' << it.unsafeGetTensorImpl() << ' ' << it.use_count() << ' ' << it._version() << ' '
           << it.requires_grad() << ' ' << it.sizes() << ' ' << it.grad().unsafeGetTensorImpl() << ' ';
      const torch::Tensor values = it.is_sparse() ? it._values() : it;
      text << values.data_ptr() << ' ' << torch::view_as_real(values.to(torch::kComplexDouble)).sum().item<double>();
      result.push_back(text.str());
    }
  };
  add(net->named_parameters());
  add(net->named_buffers());
  for (const auto& item : net->named_modules("", false)) {
    result.push_back(item.key() + std::to_string(item.value().use_count()) +
                     std::to_string(item.value()->is_training()));
  }
  return result;
}

TEST(ErrorsTest, NothingIsAllocatedAndNothingChanged) {
  const auto false_ = [](std::string_view, const at::Tensor&) { return false; };
  const torch::nn::Linear other(2, 2);
  const std::vector<std::pair<std::string, CloneOptions>> cases{
      {"an unknown path", CloneOptions().share("hed")},
      {"an unknown path to keep", CloneOptions().keep("hed")},
      {"a glob that matches nothing", CloneOptions().share("*.gamma")},
      {"a glob that matches modules only", CloneOptions().share("hea?")},
      {"a type that is not there", CloneOptions().share(ramet::type<torch::nn::Conv2dImpl>())},
      {"an object that is not there", CloneOptions().share(other)},
      {"an object that is not there, kept", CloneOptions().keep(other)},
      {"a predicate that is true of nothing", CloneOptions().share(false_)},
      {"false", CloneOptions().share(false)},
      {"plain state", CloneOptions().share("names")},
      {"everything, kept", CloneOptions().keep(true)},
      {"a type, kept", CloneOptions().keep(ramet::type<torch::nn::LinearImpl>())},
      {"two rules on one slot", CloneOptions().share("head").copy("head.*")},
      {"two modes of one tensor", CloneOptions().share("embed").alias("tied").copy("embed.weight")},
      {"a rule beneath a kept module", CloneOptions().keep("head").share("head.weight")},
      {"freezing what is shared", CloneOptions().share("head").freeze("head")},
      {"freezing what is kept", CloneOptions().keep("head").freeze("head")},
      {"freezing nothing", CloneOptions().share(true).freeze(true)},
      {"untying what is not tied", CloneOptions().untie("head.weight")},
      {"untying through a module with two names", CloneOptions().untie("again.weight")},
      {"untying by a type", CloneOptions().untie(ramet::type<torch::nn::LinearImpl>())},
      {"untying what is kept", CloneOptions().keep("embed").untie("tied")},
      {"gradients of meta tensors", CloneOptions().meta("norm").grads(true)},
      {"meta of what is sparse", CloneOptions().meta("table")},
      {"a dtype that is not floating", CloneOptions().dtype(torch::kInt)},
      {"a dtype for what is shared", CloneOptions().dtype(torch::kComplexDouble).share("head")},
      {"complex to real", CloneOptions().dtype(torch::kHalf).untie("bits")},
      {"two dtypes over the same bytes", CloneOptions().dtype(torch::kComplexDouble)},
      {"a device for what is shared", CloneOptions().device(torch::kMeta).share("head")},
      {"within a module that does not hold it", CloneOptions().within(other)},
  };
  const Net net;
  for (const auto& [name, options] : cases) {
    SCOPED_TRACE(name);
    const auto before = snapshot(net);
    const auto memory = ramet::memory::stats();
    const auto seed = at::globalContext().defaultGenerator(at::kCPU).get_state();
    for (int call = 0; call < 3; ++call) {
      CountingAllocator allocator;
      EXPECT_THROW(
          {
            if (call == 0) ramet::clone(net, options);
            if (call == 1) ramet::clones(net, 3, options);
            if (call == 2) ramet::plan(net, options);
          },
          ramet::PlanError);
      EXPECT_EQ(allocator.bytes, 0u);
    }
    EXPECT_EQ(ramet::memory::stats().mapped + ramet::memory::stats().reused, memory.mapped + memory.reused);
    EXPECT_EQ(snapshot(net), before);
    EXPECT_TRUE(at::globalContext().defaultGenerator(at::kCPU).get_state().equal(seed));
  }
}

struct UnlistedImpl : torch::nn::Module {
  UnlistedImpl() { register_parameter("weight", torch::ones({600, 1000})); }
};

struct OtherOptimizer : torch::optim::SGD {
  using SGD::SGD;
};

TEST(ErrorsTest, WhatCannotBeClonedIsKnownBefore) {
  Net net;
  OtherOptimizer optimizer(net->parameters(), torch::optim::SGDOptions(0.1));
  const auto before = snapshot(net);
  const auto memory = ramet::memory::stats();
  {
    CountingAllocator allocator;
    EXPECT_THROW(ramet::clone(std::tie(net, optimizer)), ramet::UncloneableError);
    EXPECT_THROW(ramet::clone(std::tuple(net, std::make_shared<UnlistedImpl>())), ramet::UncloneableError);
    EXPECT_EQ(allocator.bytes, 600u * 1000 * 4) << "the parameter of the module that lists nothing";
  }
  EXPECT_EQ(snapshot(net), before);
  EXPECT_EQ(ramet::memory::stats().in_use, memory.in_use);
}

TEST(ErrorsTest, TheMeasureSeesAnAllocationAndAChange) {
  Net net;
  const auto before = snapshot(net);
  const auto memory = ramet::memory::stats();
  const Net clone = ramet::clone(net);
  EXPECT_GT(ramet::memory::stats().in_use, memory.in_use);
  EXPECT_EQ(snapshot(net), before);
  net->head->bias.detach().add_(1);
  EXPECT_NE(snapshot(net), before);
}

}  // namespace
