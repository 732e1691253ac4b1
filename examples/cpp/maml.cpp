/// MAML on sines: weights from which a few steps on ten points of an unseen sine fit the whole of it. A differentiable
/// clone takes the steps, by `ramet::assign`; how well it then does is a function of the weights that it came from,
/// which an ordinary optimizer trains. `maml --small` takes fewer steps.
#include <ramet/ramet.h>

#include <iomanip>

#include "claims.h"

namespace {

using ramet::CloneOptions;
using torch::Tensor;

constexpr double rate = 0.05;

struct NetImpl : torch::nn::Module {
  NetImpl() {
    in = register_module("in", torch::nn::Linear(1, 40));
    middle = register_module("middle", torch::nn::Linear(40, 40));
    out = register_module("out", torch::nn::Linear(40, 1));
  }
  Tensor forward(const Tensor& x) { return out(middle(in(x).tanh()).tanh()); }

  torch::nn::Linear in{nullptr}, middle{nullptr}, out{nullptr};
  RAMET_MODULE(NetImpl, in, middle, out)
};
TORCH_MODULE(Net);

/// Points of a random sine to learn from, and others to be judged by.
struct Task {
  Tensor x, y, unseen_x, unseen_y;
};

Task sine() {
  constexpr int64_t points = 10;
  const Tensor height = torch::rand(1) * 2.5 + 0.5, shift = torch::rand(1) * M_PI;
  const Tensor x = torch::rand({2 * points, 1}) * 8 - 4, y = height * torch::sin(x + shift);
  return {x.narrow(0, 0, points), y.narrow(0, 0, points), x.narrow(0, points, points), y.narrow(0, points, points)};
}

std::vector<Tensor> stepped(const Tensor& loss, const std::vector<Tensor>& weights) {
  const auto grads = torch::autograd::grad({loss}, weights, {}, /*retain_graph=*/true, /*create_graph=*/true);
  std::vector<Tensor> result;
  for (std::size_t i = 0; i < weights.size(); ++i) result.push_back(weights[i] - rate * grads[i]);
  return result;
}

/// A clone that has taken `steps` steps; gradients flow through them all, to `net`.
Net adapted(const Net& net, const Task& task, int steps) {
  Net clone = ramet::clone(net, CloneOptions().differentiable(true));
  for (int i = 0; i < steps; ++i) {
    ramet::assign(clone, stepped(torch::mse_loss(clone(task.x), task.y), clone->parameters()));
  }
  return clone;
}

Tensor judged(const Net& net, const Task& task, int steps) {
  return torch::mse_loss(adapted(net, task, steps)(task.unseen_x), task.unseen_y);
}

/// The same without a clone: the net's weights, and the net as a function of them.
Tensor judged_by_hand(const Net& net, const Task& task, int steps) {
  const auto forward = [](const std::vector<Tensor>& w, const Tensor& x) {
    return torch::linear(torch::linear(torch::linear(x, w[0], w[1]).tanh(), w[2], w[3]).tanh(), w[4], w[5]);
  };
  std::vector<Tensor> weights = net->parameters();
  for (int i = 0; i < steps; ++i) weights = stepped(torch::mse_loss(forward(weights, task.x), task.y), weights);
  return torch::mse_loss(forward(weights, task.unseen_x), task.unseen_y);
}

/// The mean error on sines after `steps` steps on ten points of each.
double error(const Net& net, const std::vector<Task>& tasks, int steps) {
  double sum = 0;
  for (const Task& task : tasks) sum += judged(net, task, steps).item<double>();
  return sum / static_cast<double>(tasks.size());
}

/// Trains `net` for how well its clones do after one step.
void train(const Net& net, int iterations) {
  torch::optim::Adam optimizer(net->parameters(), torch::optim::AdamOptions(0.005));
  constexpr int tasks = 4;
  for (int i = 0; i < iterations; ++i) {
    optimizer.zero_grad();
    for (int k = 0; k < tasks; ++k) (judged(net, sine(), 1) / tasks).backward();
    optimizer.step();
  }
}

bool same_gradients(const Net& net) {
  const Task task = sine();
  const auto ours = torch::autograd::grad({judged(net, task, 2)}, net->parameters());
  const auto theirs = torch::autograd::grad({judged_by_hand(net, task, 2)}, net->parameters());
  return std::equal(ours.begin(), ours.end(), theirs.begin(),
                    [](const Tensor& a, const Tensor& b) { return torch::allclose(a, b, 1e-4, 1e-6); });
}

}  // namespace

int main(int argc, char** argv) {
  const int iterations = begin(argc, argv, 150, 600);
  Claims claims;
  Net net;
  std::vector<Task> tasks;
  for (int i = 0; i < 40; ++i) tasks.push_back(sine());

  std::cout << "a clone that autograd links to its source: differentiable(true)\n";
  const Net clone = ramet::clone(net, CloneOptions().differentiable(true));
  claims.check("has the same values", ramet::relation(net, clone).equal().size() == net->parameters().size());
  claims.check("in tensors that are no leaves", !clone->in->weight.is_leaf() && !clone->out->bias.is_leaf());
  claims.check("gradients through two steps are those without a clone, to rounding", same_gradients(net));

  const double untrained = error(net, tasks, 5);
  train(net, iterations);
  const std::vector<Tensor> trained = weights(*net);
  const double before = error(net, tasks, 0), after = error(net, tasks, 5);
  std::cout << std::setprecision(3) << "  error on unseen sines: " << before << " as trained, " << after
            << " after 5 steps; untrained, " << untrained << '\n';
  claims.check("five steps on ten points at least halve the error", after < before / 2);
  claims.check("which they do not for weights that are not trained for it", untrained > 2 * after);
  if (iterations == 600) claims.check("it is a tenth", after < before / 10);
  claims.check("adapting has changed the net by nothing", equal(weights(*net), trained));
  return claims.exit_code();
}
