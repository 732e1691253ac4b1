/// Ramet beside Module::clone(), in one run, taking turns: medians of repetitions in random order. Held: every clone
/// stays while the next ones are made, so that each needs fresh memory. Dropped: each goes before the next, and going
/// counts.
#include <benchmark/benchmark.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include <chrono>

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

/// Clones are held until there are this many bytes of them, or so many clones.
constexpr std::size_t most_bytes = std::size_t{1} << 30, most_clones = 50;

template <class Net>
std::size_t bytes_of(const Net& net) {
  std::size_t result = 0;
  for (const auto& tensor : net->parameters()) result += tensor.nbytes();
  return result;
}

/// Makes a clone, and counts the time until it is taken, or gone.
template <class Net, class Clone, class Take>
void timed(benchmark::State& state, const Net& net, const Clone& clone, const Take& take) {
  const auto begin = std::chrono::steady_clock::now();
  take(clone(net));
  state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
}

template <class Net, class Clone>
void held(benchmark::State& state, const Net& net, const Clone& clone) {
  const std::size_t most = std::clamp<std::size_t>(most_bytes / bytes_of(net), 1, most_clones);
  std::vector<decltype(clone(net))> clones;
  for (auto _ : state) {
    if (clones.size() == most) {
      clones.clear();
      ramet::memory::empty_cache();
    }
    timed(state, net, clone, [&](auto&& made) { clones.push_back(std::move(made)); });
  }
}

template <class Net, class Clone>
void dropped(benchmark::State& state, const Net& net, const Clone& clone) {
  for (auto _ : state) timed(state, net, clone, [](auto&& made) { benchmark::DoNotOptimize(made); });
}

template <class Net>
void add(const std::string& name, const Net& net) {
  const auto with = [&](const std::string& what, const auto& clone) {
    for (const bool keep : {true, false}) {
      const auto run = [=](benchmark::State& state) { keep ? held(state, net, clone) : dropped(state, net, clone); };
      benchmark::RegisterBenchmark((name + "/" + what + (keep ? "/held" : "/dropped")).c_str(), run)
          ->Unit(benchmark::kMillisecond)
          ->UseManualTime();
    }
  };
  with("Module::clone", [](const Net& source) { return source->clone(); });
  with("ramet::clone", [](const Net& source) { return ramet::clone(source); });
  with("ramet::clone, share",
       [](const Net& source) { return ramet::clone(source, ramet::CloneOptions().share(true)); });
}

}  // namespace

int main(int argc, char** argv) {
  // What comes from the command line stands last, and wins.
  std::vector<std::string> texts{argv[0], "--benchmark_enable_random_interleaving=true", "--benchmark_repetitions=9",
                                 "--benchmark_min_time=0.1", "--benchmark_report_aggregates_only=true"};
  texts.insert(texts.end(), argv + 1, argv + argc);
  std::vector<char*> arguments;
  for (std::string& text : texts) arguments.push_back(text.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;
  add("Transformer(512,8,6,6)", transformer());
  add("2000 Linear(8,8)", tiny_layers());
  add("ConvNet", convnet());
  benchmark::RunSpecifiedBenchmarks();
}
