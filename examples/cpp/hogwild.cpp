/// Hogwild: threads that train one set of weights at once, without a lock, each with gradients of its own, by `alias`.
/// That the threads write the same floats unsynchronised is the point of the method, not an oversight: a race of
/// updates loses a little of one of them now and then. `hogwild --small` takes fewer steps.
#include <ATen/CPUGeneratorImpl.h>
#include <ramet/ramet.h>

#include <atomic>
#include <thread>

#include "claims.h"

namespace {

using ramet::CloneOptions;

constexpr int64_t tokens = 48, width = 32;

/// Says which token follows; its output weights are its embedding's. Counts the steps of all workers.
struct NetImpl : torch::nn::Module {
  NetImpl() {
    embed = register_module("embed", torch::nn::Embedding(tokens, width));
    hidden = register_module("hidden", torch::nn::Linear(width, width));
    head = register_parameter("head", embed->weight);  // tied
    follows = register_buffer("follows", torch::randperm(tokens));
  }
  torch::Tensor forward(const torch::Tensor& x) { return torch::tanh(hidden(embed(x))).matmul(head.t()); }

  /// What follows a token is fixed, but every tenth time it is anything.
  torch::Tensor loss(int64_t n, at::Generator& random) {
    const torch::Tensor x = torch::randint(tokens, {n}, random), noise = torch::randint(tokens, {n}, random);
    const torch::Tensor noisy = torch::rand({n}, random).lt(0.1);
    return torch::cross_entropy_loss(forward(x), torch::where(noisy, noise, follows.index_select(0, x)));
  }

  torch::nn::Embedding embed{nullptr};
  torch::nn::Linear hidden{nullptr};
  torch::Tensor head, follows;
  std::shared_ptr<std::atomic<int64_t>> counter = std::make_shared<std::atomic<int64_t>>(0);
  using ramet_fields = ramet::fields<NetImpl, &NetImpl::embed, &NetImpl::hidden, &NetImpl::head, &NetImpl::follows,
                                     ramet::keep<&NetImpl::counter>>;  // an atomic cannot be copied: one for all clones
};
TORCH_MODULE(Net);

double accuracy(Net net) {
  const torch::NoGradGuard no_grad;
  return net(torch::arange(tokens)).argmax(1).eq(net->follows).to(torch::kFloat).mean().item<double>();
}

void train(Net net, uint64_t seed, int steps) {
  at::Generator random = at::make_generator<at::CPUGeneratorImpl>(seed);
  torch::optim::SGD optimizer(net->parameters(), 0.5);
  for (int i = 0; i < steps; ++i) {
    optimizer.zero_grad();
    net->loss(64, random).backward();
    optimizer.step();
    ++*net->counter;
  }
}

void train_at_once(const std::vector<Net>& workers, int steps) {
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < workers.size(); ++i) threads.emplace_back(train, workers[i], i, steps);
  for (std::thread& thread : threads) thread.join();
}

bool has_grads(const Net& net) {
  const auto parameters = net->parameters();
  return std::any_of(parameters.begin(), parameters.end(), [](const auto& it) { return it.grad().defined(); });
}

bool is_tied(const Net& net) { return net->head.is_same(net->embed->weight); }

bool all_aliased(const Net& net, const Net& worker) {
  const ramet::Relation relation = ramet::relation(net, worker);
  return relation.aliased().size() == 5 && relation.different().empty();  // the embedding's weight has two paths
}

void check_workers(Claims& claims, const Net& net, const std::vector<Net>& workers) {
  const auto all = [&](const auto& holds) { return std::all_of(workers.begin(), workers.end(), holds); };
  claims.check("every tensor of every worker is aliased", all([&](const Net& it) { return all_aliased(net, it); }));
  claims.check("which costs no bytes", ramet::plan(net, CloneOptions().alias(true)).nbytes() == 0);
  claims.check("each has the tie", all(is_tied));
  claims.check("each counts in one counter", all([&](const Net& it) { return it->counter == net->counter; }));
  at::Generator random = at::make_generator<at::CPUGeneratorImpl>(0);
  Net worker = workers[0];
  worker->loss(8, random).backward();
  claims.check("the gradient of one is nobody else's", has_grads(worker) && !has_grads(net) && !has_grads(workers[1]));
  worker->zero_grad();
}

/// What threads would do to each other by share: one gradient that all of them write.
void check_share(Claims& claims, const Net& net) {
  at::Generator random = at::make_generator<at::CPUGeneratorImpl>(0);
  const Net source = ramet::clone(net);
  Net tower = ramet::clone(source, CloneOptions().share(true));
  tower->loss(8, random).backward();
  claims.check("by share the gradient would be everybody's", has_grads(source));
}

}  // namespace

template struct ramet::enroll<NetImpl>;

int main(int argc, char** argv) {
  const int steps = begin(argc, argv, 250, 1000);
  Claims claims;
  const Net net;
  check_share(claims, net);
  const Net apart = ramet::clone(net);
  const double before = accuracy(net);
  train(apart, 7, steps);
  claims.check("a copy that trains leaves the net as it was", accuracy(net) == before && accuracy(apart) > 0.5);
  *net->counter = 0;

  const std::vector<Net> workers = ramet::clones(net, 3, CloneOptions().alias(true));
  std::cout << "Three workers of one net\n";
  check_workers(claims, net, workers);
  train_at_once(workers, steps);
  std::cout << "  accuracy of the net: " << before << ", after " << *net->counter << " steps of its workers "
            << accuracy(net) << '\n';
  claims.check("the net has learned, though nothing ever stepped it", before < 0.2 && accuracy(net) > 0.9);
  claims.check("from all of them", *net->counter == 3 * steps);
  claims.check("it has no gradient, and each worker has one", !has_grads(net) && has_grads(workers[0]));
  const auto same = [&](const Net& it) { return all_aliased(net, it) && equal(values(*it), values(*net)); };
  claims.check("all still hold the same weights", std::all_of(workers.begin(), workers.end(), same));
  Net moved = ramet::clone(net, CloneOptions().alias(true));
  moved->to(torch::kDouble);
  claims.check("a worker that is cast is on its own, and relation tells",
               ramet::relation(net, moved).aliased().empty());
  return claims.exit_code();
}
