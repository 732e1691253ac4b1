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

BENCHMARK(Transformer_ModuleClone)->Unit(benchmark::kMillisecond);
BENCHMARK(Transformer_Ramet)->Unit(benchmark::kMillisecond);
BENCHMARK(Transformer_RametShare)->Unit(benchmark::kMillisecond);
BENCHMARK(TinyLayers_ModuleClone)->Unit(benchmark::kMillisecond);
BENCHMARK(TinyLayers_Ramet)->Unit(benchmark::kMillisecond);
BENCHMARK(TinyLayers_RametShare)->Unit(benchmark::kMillisecond);

}  // namespace
