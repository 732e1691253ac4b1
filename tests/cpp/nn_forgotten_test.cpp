/// The check for forgotten members: what it finds, what it names, and what it must not take for one.
#include <gmock/gmock.h>
#include <ramet/optimizers.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include "in_threads.h"

namespace {

using ramet::CloneOptions;
using testing::HasSubstr;

CloneOptions checked() { return CloneOptions().check(true); }

template <class Net>
std::string error_of(const Net& net, const CloneOptions& options = checked()) {
  try {
    ramet::clone(net, options);
  } catch (const ramet::UncloneableError& error) {
    return error.what_without_backtrace();
  }
  return {};
}

struct HandleImpl : torch::nn::Module {
  HandleImpl() {
    fc1 = register_module("fc1", torch::nn::Linear(2, 2));
    fc2 = register_module("fc2", torch::nn::Linear(2, 2));
  }
  torch::nn::Linear fc1{nullptr}, fc2{nullptr};
  RAMET_MODULE(HandleImpl, fc1)
};
TORCH_MODULE(Handle);

struct OuterImpl : torch::nn::Module {
  OuterImpl() : inner() { register_module("inner", inner); }
  Handle inner;
  RAMET_MODULE(OuterImpl, inner)
};
TORCH_MODULE(Outer);

struct TensorImpl : torch::nn::Module {
  TensorImpl() : scale(register_parameter("scale", torch::ones(2))), shift(register_buffer("shift", torch::ones(2))) {}
  torch::Tensor scale, shift;
  RAMET_MODULE(TensorImpl)
};

struct VectorImpl : torch::nn::Module {
  VectorImpl() {
    for (int i = 0; i < 2; ++i) layers.push_back(register_module(std::to_string(i), torch::nn::Linear(2, 2)));
  }
  std::vector<torch::nn::Linear> layers;
  RAMET_MODULE(VectorImpl)
};

struct ClosureImpl : torch::nn::Module {
  ClosureImpl() {
    fc = register_module("fc", torch::nn::Linear(2, 2));
    call = [fc = fc](const torch::Tensor& x) mutable { return fc->forward(x); };
  }
  torch::nn::Linear fc{nullptr};
  std::function<torch::Tensor(const torch::Tensor&)> call;
  RAMET_MODULE(ClosureImpl, fc)
};

struct DerivedImpl : HandleImpl {
  DerivedImpl() { table = register_buffer("table", torch::ones(2)); }
  torch::Tensor table;
  RAMET_MODULE(DerivedImpl, table)  // and not base<HandleImpl>
};

struct Table {
  torch::Tensor rows;
};

struct StateImpl : torch::nn::Module {
  StateImpl() : table(std::make_shared<Table>(Table{register_buffer("rows", torch::ones(2))})) {}
  std::shared_ptr<Table> table;
  RAMET_MODULE(StateImpl, table)
};

TEST(ForgottenTest, TheClassAndWhatItPointsToAreNamed) {
  EXPECT_EQ(error_of(Outer()),
            "clone: 'inner': a copy of its class '(anonymous namespace)::HandleImpl' still points to the source's "
            "'inner.fc2': the class has a member that is not in its list; add it there (RAMET_MODULE or "
            "ramet::fields), or say ramet::keep of it if it shall be the source's");
  EXPECT_THAT(error_of(Handle()), HasSubstr("clone: the source itself: a copy of its class '(anonymous"));
}

TEST(ForgottenTest, WhateverOwnsSomethingIsSeen) {
  EXPECT_THAT(error_of(std::make_shared<TensorImpl>()), HasSubstr("'scale', 'shift'"));
  EXPECT_THAT(error_of(std::make_shared<VectorImpl>()), HasSubstr("'0', '1'"));
  EXPECT_THAT(error_of(std::make_shared<ClosureImpl>()), HasSubstr("the source's 'fc':"));
  EXPECT_THAT(error_of(std::make_shared<DerivedImpl>()), HasSubstr("'fc1', 'fc2'"));
  EXPECT_THAT(error_of(std::make_shared<StateImpl>()), HasSubstr("class '(anonymous namespace)::Table'"));
  torch::nn::Linear linear(2, 2);
  torch::nn::Sequential net(linear,
                            torch::nn::Functional([linear](const torch::Tensor& x) mutable { return linear(x); }));
  EXPECT_THAT(error_of(net), HasSubstr("torch::nn::FunctionalImpl' still points to the source's '0'"));
}

TEST(ForgottenTest, SeveralClonesAndSessionsAreChecked) {
  const Handle net;
  EXPECT_THROW(ramet::clones(net, 3, checked()), ramet::UncloneableError);
  EXPECT_THAT(error_of(std::tuple(torch::nn::Linear(1, 1), net)), HasSubstr("'1.fc2'"));
}

TEST(ForgottenTest, AModuleIsMissedAlsoWhereItsTensorsAreShared) {
  EXPECT_THAT(error_of(Handle(), checked().share(true)), HasSubstr("'fc2'"));
}

TEST(ForgottenTest, WithoutTheCheckTheCloneIsMade) {
  const Handle net;
  const Handle clone = ramet::clone(net, CloneOptions().check(false));
  EXPECT_EQ(clone->fc2.ptr(), net->fc2.ptr());
#ifdef NDEBUG
  EXPECT_FALSE(CloneOptions().check());
#else
  EXPECT_TRUE(CloneOptions().check());
#endif
}

TEST(ForgottenTest, TheSourceIsLeftAsItWas) {
  const Handle net;
  const auto uses = [&] { return std::pair(net->fc2.ptr().use_count(), net->fc2->weight.use_count()); };
  const auto before = uses();
  EXPECT_NE(error_of(net), "");
  EXPECT_EQ(uses(), before);
}

struct CompleteImpl : torch::nn::Module {
  CompleteImpl() {
    fc = register_module("fc", torch::nn::Linear(2, 2));
    body = register_module("body", torch::nn::Sequential(fc, torch::nn::ReLU()));
    tied = register_parameter("tied", fc->weight);
    again = {fc, fc};
    raw = fc.get();
    weak = fc.ptr();
    kept = fc;
    tables = std::make_shared<std::vector<torch::Tensor>>(2, tied);
  }
  torch::nn::Linear fc{nullptr};
  torch::nn::Sequential body;
  torch::Tensor tied;
  std::vector<torch::nn::Linear> again;
  torch::nn::LinearImpl* raw;
  std::weak_ptr<torch::nn::LinearImpl> weak;
  torch::nn::Linear kept{nullptr};
  std::shared_ptr<std::vector<torch::Tensor>> tables;
  RAMET_MODULE(CompleteImpl, fc, body, tied, again, raw, weak, kept, tables)
};
TORCH_MODULE(Complete);

TEST(ForgottenTest, WhatIsListedIsNotTakenForForgotten) {
  const Complete net;
  for (const CloneOptions& options :
       {checked(), checked().share(true), checked().share("fc.weight"), checked().alias(true), checked().meta(true),
        checked().keep("fc"), checked().untie(true), checked().dtype(torch::kDouble), checked().grads(true),
        checked().lazy(true), checked().differentiable(true),
        checked().init(true).initializer([](torch::nn::Module&) {}), checked().share(true).untie("tied"),
        checked().keep("again"), checked().keep("tables")}) {
    EXPECT_EQ(error_of(net, options), "");
  }
  torch::optim::Adam optimizer(net->parameters());
  EXPECT_EQ(error_of(std::tie(net, optimizer)), "");
}

TEST(ForgottenTest, WhatOtherThreadsHoldIsNotTakenForForgotten) {
  const Complete net;
  std::atomic<int> failed = 0;
  const auto work = [&](int thread) {
    for (int i = 0; i < 50; ++i) {
      if (thread % 2 == 0) {
        failed += error_of(net) != "";
      } else {
        torch::nn::Sequential(net->body)->forward(torch::ones({1, 2})).sum().backward();
      }
    }
  };
  ramet::in_threads(8, work);
  EXPECT_EQ(failed, 0);
}

}  // namespace
