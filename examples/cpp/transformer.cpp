/// A language model, a decoder-only Transformer, that learns to repeat phrases: its layers are clones of one, its
/// output is tied to its embedding, and it is then tuned beside a frozen clone of itself, from which it must not stray.
/// `transformer --small` takes fewer steps.
#include <ramet/ramet.h>

#include <cmath>
#include <iomanip>

#include "claims.h"

namespace {

using ramet::CloneOptions;
using torch::nn::TransformerEncoderLayer;

constexpr int64_t vocabulary = 16, width = 32, phrase = 4, length = 3 * phrase;

/// `Cloneable` only to be compared with Module::clone(): Ramet needs neither it nor `reset()`.
struct LanguageModelImpl : torch::nn::Cloneable<LanguageModelImpl> {
  LanguageModelImpl() { reset(); }
  void reset() override {
    embed = register_module("embed", torch::nn::Embedding(vocabulary, width));
    place = register_parameter("place", 0.3 * torch::randn({length, width}));
    const auto options = torch::nn::TransformerEncoderLayerOptions(width, 4).dim_feedforward(64).dropout(0);
    layers = ramet::clones(TransformerEncoderLayer(options), 3);
    for (std::size_t i = 0; i < layers.size(); ++i) register_module("layer" + std::to_string(i), layers[i]);
    head = register_parameter("head", embed->weight);  // tied
    mask = register_buffer("mask", torch::nn::TransformerImpl::generate_square_subsequent_mask(length));
  }
  /// For each place of `text`, batch x length: logits of what comes next.
  torch::Tensor forward(const torch::Tensor& text) {
    torch::Tensor x = (embed(text) + place).transpose(0, 1);
    for (auto& layer : layers) x = layer(x, mask);
    return x.transpose(0, 1).matmul(head.t()) / std::sqrt(double(width));
  }

  torch::nn::Embedding embed{nullptr};
  std::vector<TransformerEncoderLayer> layers;
  torch::Tensor place, head, mask;
  RAMET_MODULE(LanguageModelImpl, embed, layers, place, head, mask)
};
TORCH_MODULE(LanguageModel);

/// Phrases of random tokens, each said three times; to `reverse` is to say it backwards the third time.
torch::Tensor texts(int64_t n, bool reverse = false) {
  const torch::Tensor words = torch::randint(vocabulary, {n, phrase});
  return torch::cat({words, words, reverse ? words.flip({1}) : words}, 1);
}

/// What follows each token of a text, and what the model says of it: all but the first phrase can be known.
struct Reading {
  torch::Tensor logits, next;
};

Reading read(LanguageModel model, const torch::Tensor& text) {
  const torch::Tensor logits = model(text).narrow(1, phrase - 1, length - phrase);
  return {logits.flatten(0, 1), text.narrow(1, phrase, length - phrase).flatten()};
}

torch::Tensor loss(const Reading& reading) { return torch::cross_entropy_loss(reading.logits, reading.next); }

double accuracy(LanguageModel model, const torch::Tensor& text) {
  const torch::NoGradGuard no_grad;
  const auto [logits, next] = read(model, text);
  return logits.argmax(1).eq(next).to(torch::kFloat).mean().item<double>();
}

void train(LanguageModel model, int steps) {
  torch::optim::Adam optimizer(model->parameters(), 3e-3);
  for (int i = 0; i < steps; ++i) {
    optimizer.zero_grad();
    loss(read(model, texts(64))).backward();
    optimizer.step();
  }
}

/// Teaches the model to reverse; `leash` weighs how far it strays from the reference.
void tune(LanguageModel model, LanguageModel reference, double leash, int steps) {
  torch::optim::Adam optimizer(model->parameters(), 1e-3);
  for (int i = 0; i < steps; ++i) {
    const torch::Tensor text = texts(64, /*reverse=*/true);
    const Reading ours = read(model, text);
    const torch::Tensor log_p = ours.logits.log_softmax(1), log_q = read(reference, text).logits.log_softmax(1);
    optimizer.zero_grad();
    (loss(ours) + leash * (log_p.exp() * (log_p - log_q)).sum(1).mean()).backward();
    optimizer.step();
  }
}

void train_layers(Claims& claims, LanguageModel model, int steps) {
  std::cout << ramet::catalog(model);
  const auto& layers = model->layers;
  claims.check("the layers, clones of one, start equal, with tensors of their own",
               ramet::relation(layers[0], layers[2]).equal().size() == 12);
  train(model, steps);
  std::cout << "  accuracy after " << steps << " steps: " << accuracy(model, texts(500)) << '\n';
  claims.check("the model has learned to repeat", accuracy(model, texts(500)) > 0.8);
  claims.check("the layers have gone their own ways", ramet::relation(layers[0], layers[2]).different().size() == 12);
  claims.check("the output is still the embedding", model->head.is_same(model->embed->weight));
}

void tune_beside_reference(Claims& claims, const LanguageModel& model, int steps) {
  LanguageModel reference = ramet::clone(model, CloneOptions().freeze(true));
  const auto before = values(*reference);
  const std::vector<LanguageModel> tuned = ramet::clones(model, 2);
  tune(tuned[0], reference, 0, steps);
  tune(tuned[1], reference, 1, steps);
  const torch::Tensor repeated = texts(500), reversed = texts(500, true);
  std::cout << "            repeats reverses\n" << std::setprecision(3);
  for (const auto& [name, it] :
       {std::pair("reference", reference), {"let loose", tuned[0]}, {"on a leash", tuned[1]}}) {
    std::cout << "  " << std::left << std::setw(12) << name << std::setw(8) << accuracy(it, repeated)
              << accuracy(it, reversed) << '\n';
  }
  const double loose = accuracy(tuned[0], repeated), held = accuracy(tuned[1], repeated);
  claims.check("a clone has learned to reverse", accuracy(tuned[0], reversed) > 0.8);
  claims.check("one that is held to the reference strays less from repeating", held > loose + 0.1);
  claims.check("the reference has not changed by a bit", equal(values(*reference), before));
  const auto frozen = reference->parameters();
  claims.check("and has no gradient", std::none_of(frozen.begin(), frozen.end(), [](const torch::Tensor& it) {
                 return it.requires_grad() || it.grad().defined();
               }));
  claims.check("its output is its own embedding",
               reference->head.is_same(reference->embed->weight) && !reference->head.is_alias_of(model->head));
}

torch::Tensor random_state() { return at::detail::getDefaultCPUGenerator().get_state(); }

void compare(Claims& claims, const LanguageModel& model) {
  const torch::Tensor before = random_state();
  const LanguageModel ours = ramet::clone(model);
  claims.check("a clone draws no random numbers", random_state().equal(before));
  const LanguageModel theirs(std::dynamic_pointer_cast<LanguageModelImpl>(model->clone()));
  std::cout << std::boolalpha << "  Module::clone() draws some: " << !random_state().equal(before)
            << "; its output is its embedding: " << theirs->head.is_same(theirs->embed->weight) << '\n'
            << "  ramet::clone " << milliseconds([&] { ramet::clone(model); }) << " ms, Module::clone() "
            << milliseconds([&] { model->clone(); }) << " ms\n";
}

}  // namespace

int main(int argc, char** argv) {
  const int steps = begin(argc, argv, 200, 500);
  Claims claims;
  const LanguageModel model;
  std::cout << "A Transformer that repeats phrases\n";
  train_layers(claims, model, steps);
  std::cout << "Clones of it that learn to reverse them, beside a frozen reference\n";
  tune_beside_reference(claims, model, steps);
  std::cout << "Beside Module::clone()\n";
  compare(claims, model);
  return claims.exit_code();
}
