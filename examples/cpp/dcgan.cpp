/// A DCGAN that learns to paint discs, and what it clones on the way: an average of the generator that reads its batch
/// norms, snapshots to look back at, and copies of the discriminator, with its optimizer, that train ahead of it.
/// `dcgan --small` takes fewer steps.
#include <ramet/optimizers.h>
#include <ramet/ramet.h>

#include "claims.h"

namespace {

using ramet::CloneOptions;
using torch::nn::BatchNorm2d;
using torch::nn::Conv2d;
using torch::nn::Conv2dOptions;
using torch::nn::ConvTranspose2d;
using torch::nn::ConvTranspose2dOptions;
using torch::nn::LeakyReLU;
using torch::nn::Sequential;

struct GeneratorImpl : torch::nn::Module {
  GeneratorImpl() {
    up1 = register_module("up1", ConvTranspose2d(ConvTranspose2dOptions(noise, 32, 4).bias(false)));
    norm1 = register_module("norm1", BatchNorm2d(32));
    up2 = register_module("up2", ConvTranspose2d(ConvTranspose2dOptions(32, 16, 4).stride(2).padding(1).bias(false)));
    norm2 = register_module("norm2", BatchNorm2d(16));
    up3 = register_module("up3", ConvTranspose2d(ConvTranspose2dOptions(16, 1, 4).stride(2).padding(1)));
  }
  torch::Tensor forward(const torch::Tensor& z) {
    const torch::Tensor x = torch::relu(norm1(up1(z)));
    return torch::tanh(up3(torch::relu(norm2(up2(x)))));
  }

  static constexpr int64_t noise = 16;
  ConvTranspose2d up1{nullptr}, up2{nullptr}, up3{nullptr};
  BatchNorm2d norm1{nullptr}, norm2{nullptr};
  RAMET_MODULE(GeneratorImpl, up1, up2, up3, norm1, norm2)
};
TORCH_MODULE(Generator);

/// LibTorch's own modules need no line.
Sequential make_discriminator() {
  return Sequential(Conv2d(Conv2dOptions(1, 16, 4).stride(2).padding(1)), LeakyReLU(),
                    Conv2d(Conv2dOptions(16, 32, 4).stride(2).padding(1).bias(false)), BatchNorm2d(32), LeakyReLU(),
                    Conv2d(Conv2dOptions(32, 1, 4)));
}

/// White discs on black, 16 x 16, of any size and place.
torch::Tensor discs(int64_t n) {
  const auto between = [n](double low, double high) { return low + (high - low) * torch::rand({n, 1, 1, 1}); };
  const torch::Tensor line = torch::arange(16);
  const torch::Tensor x = line.view({1, 1, 1, 16}) - between(5, 10), y = line.view({1, 1, 16, 1}) - between(5, 10);
  return torch::tanh(2 * (between(3, 5) - torch::sqrt(x * x + y * y)));
}

torch::Tensor noise(int64_t n) { return torch::randn({n, GeneratorImpl::noise, 1, 1}); }

torch::Tensor loss(Sequential discriminator, const torch::Tensor& images, bool real) {
  const torch::Tensor says = discriminator->forward(images);
  return torch::binary_cross_entropy_with_logits(says, real ? torch::ones_like(says) : torch::zeros_like(says));
}

void step(Sequential discriminator, torch::optim::Optimizer& optimizer, const torch::Tensor& fake) {
  optimizer.zero_grad();
  (loss(discriminator, discs(fake.size(0)), true) + loss(discriminator, fake.detach(), false)).backward();
  optimizer.step();
}

/// The generator of one moment, and what it painted then.
struct Snapshot {
  Generator generator;
  torch::Tensor images;
};

struct Gan {
  Generator generator;
  Sequential discriminator = make_discriminator();
  torch::optim::Adam painter{generator->parameters(), torch::optim::AdamOptions(2e-3).betas({0.5, 0.999})};
  torch::optim::Adam critic{discriminator->parameters(), torch::optim::AdamOptions(2e-3).betas({0.5, 0.999})};
  // Weights of its own, which no gradient reaches; the running statistics are the generator's.
  Generator average = ramet::clone(generator, CloneOptions().share(ramet::buffers).freeze(true));
  std::vector<Snapshot> album;
};

/// Paints against what the discriminator will be a few steps on, as in unrolled GANs (Metz et al. 2017): a copy of it
/// trains ahead, and is dropped. The discriminator and its optimizer know nothing of it.
void paint(Gan& gan, int64_t n, int ahead) {
  const torch::Tensor fake = gan.generator(noise(n));
  auto [discriminator, critic] = ramet::clone(std::tie(gan.discriminator, gan.critic));
  for (int i = 0; i < ahead; ++i) step(discriminator, *critic, fake);
  gan.painter.zero_grad();
  loss(discriminator, fake, true).backward();
  gan.painter.step();
}

/// Moves the average a little way to where the generator is.
void follow(Gan& gan) {
  const torch::NoGradGuard no_grad;
  const auto from = gan.generator->parameters();
  auto to = gan.average->parameters();
  for (std::size_t i = 0; i < to.size(); ++i) to[i].lerp_(from[i], 0.02);
}

void take_snapshot(Gan& gan, const torch::Tensor& z) {
  const torch::NoGradGuard no_grad;
  gan.generator->eval();
  gan.album.push_back({ramet::clone(gan.generator, CloneOptions().freeze(true)), gan.generator(z)});
  gan.generator->train();
}

/// Returns whether the steps of the generator left the discriminator and the average as they were.
bool train(Gan& gan, int steps, const torch::Tensor& z) {
  gan.average->eval();  // reads the statistics that it shares, and does not write them
  bool untouched = true;
  for (int i = 0; i < steps; ++i) {
    if (i % (steps / 4) == 0) take_snapshot(gan, z);
    step(gan.discriminator, gan.critic, gan.generator(noise(64)));
    gan.discriminator->zero_grad();
    const auto discriminator = values(*gan.discriminator), average = weights(*gan.average);
    paint(gan, 64, 2);
    untouched &= equal(values(*gan.discriminator), discriminator) && equal(weights(*gan.average), average);
    for (const auto& parameter : gan.discriminator->parameters()) untouched &= !parameter.grad().defined();
    follow(gan);
  }
  return untouched;
}

/// How far the painted images are from discs, in the mean and the deviation of each pixel.
double distance(Generator generator) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor fake = generator(noise(1000)), real = discs(1000);
  return ((fake.mean(0) - real.mean(0)).abs().mean() + (fake.std(0) - real.std(0)).abs().mean()).item<double>();
}

void show(const torch::Tensor& images) {
  for (int64_t y = 0; y < 16; y += 2) {
    std::cout << "  ";
    for (int64_t i = 0; i < images.size(0); ++i) {
      for (int64_t x = 0; x < 16; ++x) std::cout << " .+#"[int(2 + 1.99 * images[i][0][y][x].item<float>())];
    }
    std::cout << '\n';
  }
}

void check_average(Claims& claims, Gan& gan, double untrained) {
  const double after = distance(gan.average);
  std::cout << "  distance from discs: " << untrained << ", of the trained average " << after << '\n';
  claims.check("the average has learned to paint", after < untrained / 3);
  const auto relation = ramet::relation(gan.generator, gan.average);
  claims.check("it reads the generator's own running statistics", relation.shared().size() == 6);
  claims.check("its weights are its own, and need no gradient",
               relation.different().size() == 8 && !gan.average->up1->weight.requires_grad());
}

void check_album(Claims& claims, Gan& gan, const torch::Tensor& z) {
  bool same = true;
  for (Snapshot& snapshot : gan.album) same &= snapshot.generator(z).equal(snapshot.images);
  claims.check("each of " + std::to_string(gan.album.size()) + " snapshots paints what the generator did, to the bit",
               same && !gan.generator(z).equal(gan.album.back().images));
}

int64_t steps_of(const torch::optim::Adam& optimizer) {
  return static_cast<const torch::optim::AdamParamState&>(*optimizer.state().begin()->second).step();
}

void measure(const Gan& gan) {
  std::cout << "  the discriminator: ramet::clone " << milliseconds([&] { ramet::clone(gan.discriminator); })
            << " ms, Module::clone() " << milliseconds([&] { gan.discriminator->clone(); })
            << " ms; with its optimizer "
            << milliseconds([&] { ramet::clone(std::tie(gan.discriminator, gan.critic)); })
            << " ms, which Module::clone() cannot\n";
}

}  // namespace

int main(int argc, char** argv) {
  const int steps = begin(argc, argv, 100, 400);
  Claims claims;
  Gan gan;
  const double untrained = distance(gan.generator);
  const torch::Tensor z = noise(6);
  std::cout << "A DCGAN, " << steps << " steps, each against copies that have trained two steps ahead\n";
  const bool untouched = train(gan, steps, z);
  gan.generator->eval();
  claims.check("no step of the generator touched the discriminator or the average", untouched);
  claims.check("the discriminator's optimizer has counted its own steps only", steps_of(gan.critic) == steps);
  check_average(claims, gan, untrained);
  check_album(claims, gan, z);
  measure(gan);
  show(gan.average(z));
  return claims.exit_code();
}
