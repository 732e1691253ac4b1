/// Clones and shares a module of its own; the exit code counts what is not as it should be.
#include <ramet/ramet.h>
#include <torch/nn/modules/linear.h>

#include <iostream>

struct NetImpl : torch::nn::Module {
  torch::nn::Linear trunk{register_module("trunk", torch::nn::Linear(2, 2))};
  torch::nn::Linear head{register_module("head", torch::nn::Linear(2, 1))};
  RAMET_MODULE(NetImpl, trunk, head)
};
TORCH_MODULE(Net);

int failures = 0;

void expect(bool holds, const char* claim) {
  if (holds) return;
  std::cout << "not so: " << claim << '\n';
  ++failures;
}

int main() {
  const Net net;
  const Net twin = ramet::clone(net);
  expect(ramet::relation(net, twin).equal().size() == 4, "a clone equals its source and shares nothing");
  expect(twin->trunk.get() == twin->named_children()["trunk"].get(), "a clone's members are its own");

  const Net tower = ramet::clone(net, ramet::CloneOptions().share("trunk"));
  expect(tower->trunk->weight.is_same(net->trunk->weight), "what is named is shared");
  expect(!tower->head->weight.is_same(net->head->weight), "what is not named is not shared");

  try {
    ramet::clone(net, ramet::CloneOptions().share("tail"));
    expect(false, "a path that matches nothing is an error");
  } catch (const ramet::PlanError&) {
  }
  return failures;
}
