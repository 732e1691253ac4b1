/// Ramet beside Module::clone(), in one run. A clone that is held while the next is made is fresh; one that is dropped
/// first may reuse its memory. `--benchmark_enable_random_interleaving=true --benchmark_repetitions=9` for medians.
#include <benchmark/benchmark.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

namespace {

torch::nn::Transformer transformer() {
  return torch::nn::Transformer(
      torch::nn::TransformerOptions(512, 8).num_encoder_layers(6).num_decoder_layers(6).dim_feedforward(2048));
}

torch::nn::Sequential tiny_layers() {
  torch::nn::Sequential result;
  for (int i = 0; i < 2000; ++i) result->push_back(torch::nn::Linear(8, 8));
  return result;
}

void add_block(torch::nn::Sequential& net, int64_t in, int64_t out) {
  net->push_back(torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 3).padding(1).bias(false)));
  net->push_back(torch::nn::BatchNorm2d(out));
  net->push_back(torch::nn::ReLU());
}

// The layers of a residual network without its additions: what a clone takes does not depend on forward.
torch::nn::Sequential convnet() {
  torch::nn::Sequential result;
  add_block(result, 3, 64);
  for (int64_t width : {64, 128, 256}) {
    for (int i = 0; i < 6; ++i) add_block(result, width, width);
    add_block(result, width, 2 * width);
  }
  result->push_back(torch::nn::AdaptiveAvgPool2d(1));
  result->push_back(torch::nn::Flatten());
  result->push_back(torch::nn::Linear(512, 1000));
  return result;
}

template <class Net, class Clone>
void measure(benchmark::State& state, const Net& net, const Clone& clone) {
  for (auto _ : state) {
    auto made = clone(net);
    benchmark::DoNotOptimize(made);
  }
}

const auto module_clone = [](const auto& net) { return net->clone(); };
const auto ramet_clone = [](const auto& net) { return ramet::clone(net); };
const auto ramet_share = [](const auto& net) { return ramet::clone(net, ramet::CloneOptions().share(true)); };

void Transformer_ModuleClone(benchmark::State& state) { measure(state, transformer(), module_clone); }
void Transformer_Ramet(benchmark::State& state) { measure(state, transformer(), ramet_clone); }
void Transformer_RametShare(benchmark::State& state) { measure(state, transformer(), ramet_share); }
void TinyLayers_ModuleClone(benchmark::State& state) { measure(state, tiny_layers(), module_clone); }
void TinyLayers_Ramet(benchmark::State& state) { measure(state, tiny_layers(), ramet_clone); }
void TinyLayers_RametShare(benchmark::State& state) { measure(state, tiny_layers(), ramet_share); }
void ConvNet_ModuleClone(benchmark::State& state) { measure(state, convnet(), module_clone); }
void ConvNet_Ramet(benchmark::State& state) { measure(state, convnet(), ramet_clone); }
void ConvNet_RametShare(benchmark::State& state) { measure(state, convnet(), ramet_share); }

BENCHMARK(Transformer_ModuleClone)->Unit(benchmark::kMillisecond);
BENCHMARK(Transformer_Ramet)->Unit(benchmark::kMillisecond);
BENCHMARK(Transformer_RametShare)->Unit(benchmark::kMillisecond);
BENCHMARK(TinyLayers_ModuleClone)->Unit(benchmark::kMillisecond);
BENCHMARK(TinyLayers_Ramet)->Unit(benchmark::kMillisecond);
BENCHMARK(TinyLayers_RametShare)->Unit(benchmark::kMillisecond);
BENCHMARK(ConvNet_ModuleClone)->Unit(benchmark::kMillisecond);
BENCHMARK(ConvNet_Ramet)->Unit(benchmark::kMillisecond);
BENCHMARK(ConvNet_RametShare)->Unit(benchmark::kMillisecond);

}  // namespace
