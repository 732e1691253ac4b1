/// An ensemble from one network: clones with fresh values, which disagree where they have seen no data. `init` draws
/// values as if each member were built anew; a cheaper ensemble shares a trunk and has heads of its own.
/// `ensemble --small` takes fewer steps.
#include <ramet/ramet.h>

#include <iomanip>

#include "claims.h"

namespace {

using ramet::CloneOptions;
using torch::Tensor;

struct NetImpl : torch::nn::Module {
  NetImpl() {
    in = register_module("in", torch::nn::Linear(1, 32));
    middle = register_module("middle", torch::nn::Linear(32, 32));
    head = register_module("head", torch::nn::Linear(32, 1));
  }
  Tensor forward(const Tensor& x) { return head(middle(in(x).tanh()).tanh()); }

  torch::nn::Linear in{nullptr}, middle{nullptr}, head{nullptr};
  RAMET_MODULE(NetImpl, in, middle, head)
};
TORCH_MODULE(Net);

/// Points of a noisy curve, with none in the middle and none outside of [-2, 2].
std::pair<Tensor, Tensor> data() {
  const Tensor far = torch::rand({32, 1}) * 1.2 + 0.8;
  const Tensor x = torch::cat({-far, torch::rand({32, 1}) * 1.2 + 0.8});
  return {x, torch::sin(2 * x) + 0.05 * torch::randn_like(x)};
}

/// Trains all members, each on its own error; what they share, on the sum.
void train(std::vector<Net>& members, const Tensor& x, const Tensor& y, int steps) {
  std::vector<Tensor> parameters;
  for (const Net& member : members) {
    for (const Tensor& parameter : member->parameters()) {
      const auto same = [&](const Tensor& other) { return other.is_same(parameter); };
      if (std::none_of(parameters.begin(), parameters.end(), same)) parameters.push_back(parameter);
    }
  }
  torch::optim::Adam optimizer(parameters, torch::optim::AdamOptions(0.01));
  for (int i = 0; i < steps; ++i) {
    optimizer.zero_grad();
    Tensor loss = torch::zeros({});
    for (Net& member : members) loss = loss + torch::mse_loss(member(x), y);
    loss.backward();
    optimizer.step();
  }
}

Tensor answers(std::vector<Net>& members, const Tensor& x) {
  const torch::NoGradGuard no_grad;
  std::vector<Tensor> result;
  for (Net& member : members) result.push_back(member(x));
  return torch::stack(result);
}

double spread(std::vector<Net>& members, const Tensor& x) { return answers(members, x).std(0).mean().item<double>(); }

/// Whether two members are what a constructor makes of the same random numbers.
bool as_if_built(const Net& net) {
  torch::manual_seed(2);
  const auto fresh = ramet::clones(net, 2, CloneOptions().init(true));
  torch::manual_seed(2);
  const Net first, second;
  return equal(weights(*fresh[0]), weights(*first)) && equal(weights(*fresh[1]), weights(*second));
}

void check_trained(Claims& claims, std::vector<Net>& members, const Tensor& x, const Tensor& y) {
  const Tensor all = answers(members, x), errors = (all - y).square().mean({1, 2});
  const double together = torch::mse_loss(all.mean(0), y).item<double>();
  std::cout << std::setprecision(3) << "  errors " << errors.min().item<double>() << " to "
            << errors.max().item<double>() << ", of the mean " << together << '\n';
  claims.check("each has learned the curve", errors.max().item<double>() < 0.05);
  claims.check("their mean is no worse than they are on the average", together <= errors.mean().item<double>());
  const double seen = spread(members, x), unseen = spread(members, torch::linspace(3, 5, 32).unsqueeze(1));
  std::cout << "  apart by " << seen << " where there are data, by " << unseen << " where there are none\n";
  claims.check("they disagree where there are no data", unseen > 3 * seen);
}

}  // namespace

int main(int argc, char** argv) {
  const int steps = begin(argc, argv, 200, 400);
  Claims claims;
  const Net net;
  const std::vector<Tensor> before = weights(*net);
  const auto [x, y] = data();

  std::cout << "five of one: clones(net, 5, init(true))\n";
  claims.check("a member has the values that its constructor would have drawn", as_if_built(net));
  auto members = ramet::clones(net, 5, CloneOptions().init(true));
  claims.check("no two are alike", !members[0]->head->weight.equal(members[1]->head->weight));
  train(members, x, y, steps);
  check_trained(claims, members, x, y);
  claims.check("the net is as it was", equal(weights(*net), before));

  std::cout << "five heads on one trunk: share(true).init(\"head\")\n";
  auto heads = ramet::clones(net, 5, CloneOptions().share(true).init("head"));
  claims.check("all have the trunk", heads[4]->in->weight.is_same(net->in->weight));
  claims.check("and a head of their own", !heads[4]->head->weight.equal(heads[3]->head->weight));
  train(heads, x, y, steps);
  claims.check("they learn together", (answers(heads, x) - y).square().mean().item<double>() < 0.05);
  return claims.exit_code();
}
