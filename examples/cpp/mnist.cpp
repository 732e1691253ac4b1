/// A convnet on digits that the program draws itself, cloned in three ways: a clone that trains apart from its source,
/// Siamese towers with one set of weights, and a net with its optimizer that goes on training as its source does.
/// `mnist --small` takes fewer steps.
#include <ramet/optimizers.h>
#include <ramet/ramet.h>

#include "claims.h"

namespace {

namespace F = torch::nn::functional;
using ramet::CloneOptions;

/// As users write it: a plain module, without `Cloneable` and `reset()`.
struct NetImpl : torch::nn::Module {
  NetImpl() {
    conv1 = register_module("conv1", torch::nn::Conv2d(1, 8, 5));
    conv2 = register_module("conv2", torch::nn::Conv2d(8, 16, 5));
    fc1 = register_module("fc1", torch::nn::Linear(256, 32));
    fc2 = register_module("fc2", torch::nn::Linear(32, 10));
  }
  torch::Tensor embed(const torch::Tensor& images) {
    const torch::Tensor x = torch::relu(torch::max_pool2d(conv1(images), 2));
    return fc1(torch::relu(torch::max_pool2d(conv2(x), 2)).flatten(1));
  }
  torch::Tensor forward(const torch::Tensor& images) { return fc2(torch::relu(embed(images))); }

  torch::nn::Conv2d conv1{nullptr}, conv2{nullptr};
  torch::nn::Linear fc1{nullptr}, fc2{nullptr};
  RAMET_MODULE(NetImpl, conv1, conv2, fc1, fc2)
};
TORCH_MODULE(Net);

struct Batch {
  torch::Tensor images, labels;
};

/// The ten digits, 10 x 1 x 11 x 11: seven rows of five pixels, each row a number, with a margin around.
torch::Tensor glyphs() {
  const torch::Tensor rows = torch::tensor({14, 17, 19, 21, 25, 17, 14, 4,  12, 4,  4,  4, 4,  14,   // 0, 1
                                            14, 17, 1,  2,  4,  8,  31, 31, 2,  4,  2,  1, 17, 14,   // 2, 3
                                            2,  6,  10, 18, 31, 2,  2,  31, 16, 30, 1,  1, 17, 14,   // 4, 5
                                            6,  8,  16, 30, 17, 17, 14, 31, 1,  2,  4,  8, 8,  8,    // 6, 7
                                            14, 17, 17, 14, 17, 17, 14, 14, 17, 17, 15, 1, 2,  12})  // 8, 9
                                 .view({10, 1, 7, 1});
  const torch::Tensor pixels = rows.bitwise_and(torch::tensor({16, 8, 4, 2, 1})).ne(0).to(torch::kFloat);
  return F::pad(pixels, F::PadFuncOptions({3, 3, 2, 2}));
}

/// Draws `labels`, each shifted, scaled, slanted and turned by chance, on paper that is not clean.
torch::Tensor draw(const torch::Tensor& labels) {
  const int64_t n = labels.size(0);
  const auto around = [n](double middle, double width) { return middle + width * (2 * torch::rand({n}) - 1); };
  const torch::Tensor size = around(1.0, 0.2), turn = around(0, 0.25), slant = around(0, 0.25);
  const torch::Tensor to_glyph = torch::stack({size * turn.cos(), size * (slant - turn.sin()), around(0, 0.2),  //
                                               size * turn.sin(), size * turn.cos(), around(0, 0.2)},
                                              1);
  const torch::Tensor grid = F::affine_grid(to_glyph.view({n, 2, 3}), {n, 1, 28, 28}, /*align_corners=*/false);
  const auto options = F::GridSampleFuncOptions().align_corners(false);
  return F::grid_sample(glyphs().index_select(0, labels), grid, options) + 0.3 * torch::randn({n, 1, 28, 28});
}

Batch batch(int64_t n) {
  const torch::Tensor labels = torch::randint(10, {n});
  return {draw(labels), labels};
}

void step(Net net, torch::optim::Optimizer& optimizer, const Batch& batch) {
  optimizer.zero_grad();
  torch::cross_entropy_loss(net(batch.images), batch.labels).backward();
  optimizer.step();
}

double accuracy(Net net, const Batch& test) {
  const torch::NoGradGuard no_grad;
  return net(test.images).argmax(1).eq(test.labels).to(torch::kFloat).mean().item<double>();
}

/// A clone learns to read negatives; its source reads as before.
void train_apart(Claims& claims, const Net& net, int steps) {
  const Batch test = batch(1000), negative{-test.images, test.labels};
  const auto before = values(*net);
  const Net clone = ramet::clone(net);
  claims.check("a clone starts with the source's values", equal(values(*clone), before));
  claims.check("and with none of its tensors", ramet::relation(net, clone).shared().empty());
  torch::optim::Adam optimizer(clone->parameters(), 2e-3);
  for (int i = 0; i < steps; ++i) {
    const Batch positive = batch(64);
    step(clone, optimizer, {-positive.images, positive.labels});
  }
  std::cout << "  accuracy on negatives: source " << accuracy(net, negative) << ", clone " << accuracy(clone, negative)
            << "; on positives: source " << accuracy(net, test) << '\n';
  claims.check("the clone has learned to read negatives", accuracy(clone, negative) > 0.7);
  claims.check("the source cannot, and has not changed by a bit",
               accuracy(net, negative) < 0.5 && equal(values(*net), before));
}

/// Turns the embeddings of one digit in one direction, and those of two digits across.
torch::Tensor contrast(Net left, Net right, const Batch& a, const Batch& b) {
  const torch::Tensor same = 2 * a.labels.eq(b.labels).to(torch::kLong) - 1;
  return torch::cosine_embedding_loss(left->embed(a.images), right->embed(b.images), same);
}

/// Batches of which about half the pairs are of one digit.
std::pair<Batch, Batch> pairs(int64_t n) {
  const Batch a = batch(n);
  const torch::Tensor labels = torch::where(torch::rand({n}).lt(0.5), a.labels, torch::randint(10, {n}));
  return {a, {draw(labels), labels}};
}

/// Whether both towers' gradients are those of two nets with weights of their own, added up.
bool adds_up(Net left, const Net& right) {
  const auto [a, b] = pairs(64);
  const std::vector<Net> apart = ramet::clones(left, 2);
  left->zero_grad();
  contrast(left, right, a, b).backward();
  contrast(apart[0], apart[1], a, b).backward();
  for (const auto& item : left->named_parameters()) {
    const torch::Tensor& grad = item.value().grad();
    if (!grad.defined()) continue;  // fc2, which no tower uses
    const auto alone = [&](int i) { return apart[i]->named_parameters()[item.key()].grad(); };
    if (!grad.allclose(alone(0) + alone(1), 1e-4, 1e-6)) return false;
    if (!grad.is_same(right->named_parameters()[item.key()].grad())) return false;
  }
  return true;
}

void train_towers(Claims& claims, const Net& net, int steps) {
  Net left = ramet::clone(net);
  Net right = ramet::clone(left, CloneOptions().share(true));
  claims.check("the towers are two modules with one set of weights",
               left.ptr() != right.ptr() && ramet::relation(left, right).shared().size() == 8);
  claims.check("their gradients add up, and one backward fills both", adds_up(left, right));
  const auto [a, b] = pairs(1000);
  const auto told_apart = [&, &a = a, &b = b] {
    const torch::NoGradGuard no_grad;
    const torch::Tensor near = torch::cosine_similarity(left->embed(a.images), right->embed(b.images)).gt(0.5);
    return near.eq(a.labels.eq(b.labels)).to(torch::kFloat).mean().item<double>();
  };
  const double before = told_apart();
  torch::optim::Adam optimizer(left->parameters(), 2e-3);  // trains both
  for (int i = 0; i < steps; ++i) {
    const auto [x, y] = pairs(64);
    optimizer.zero_grad();
    contrast(left, right, x, y).backward();
    optimizer.step();
  }
  const double after = told_apart();
  std::cout << "  pairs told apart: " << before << ", after training " << after << '\n';
  claims.check("the towers have learned to tell pairs apart", after > 0.75);
  claims.check("and still are one", ramet::relation(left, right).shared().size() == 8);
}

void train_on(Claims& claims, const Net& net, torch::optim::Adam& optimizer, int steps) {
  auto [net2, optimizer2] = ramet::clone(std::tie(net, optimizer));
  for (int i = 0; i < steps; ++i) {
    const Batch same = batch(64);
    step(net, optimizer, same);
    step(net2, *optimizer2, same);
  }
  claims.check("a net cloned with its optimizer goes on training as they do, to the bit",
               equal(values(*net), values(*net2)));
  const Net net3 = ramet::clone(net);
  torch::optim::Adam fresh(net3->parameters(), 2e-3);
  const Batch same = batch(64);
  step(net, optimizer, same);
  step(net3, fresh, same);
  claims.check("which it would not with a new optimizer", !equal(values(*net), values(*net3)));
}

void measure(const Net& net) {
  std::cout << "  ramet::clone " << milliseconds([&] { ramet::clone(net); }) << " ms; Module::clone(): ";
  try {
    net->clone();
  } catch (const c10::Error& error) {
    std::cout << error.what_without_backtrace() << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int steps = begin(argc, argv, 200, 600);
  Claims claims;
  Net net;
  torch::optim::Adam optimizer(net->parameters(), 2e-3);
  for (int i = 0; i < steps; ++i) step(net, optimizer, batch(64));
  const double reads = accuracy(net, batch(1000));
  std::cout << "A convnet that reads digits: accuracy " << reads << " after " << steps << " steps\n";
  claims.check("it has learned to read", reads > 0.7);
  std::cout << "A clone that trains apart\n";
  train_apart(claims, net, steps);
  std::cout << "Siamese towers\n";
  train_towers(claims, net, steps);
  std::cout << "A net with its optimizer\n";
  train_on(claims, net, optimizer, steps / 10);
  measure(net);
  return claims.exit_code();
}
