/// Ramet beside Module::clone(), a clone() a tensor, and what memory allows, in one run, taking turns: repetitions in
/// random order. Held: every clone stays while the next ones are made, so that each needs fresh memory. Dropped: each
/// goes before the next, and going counts.
///
/// Names are job/who/clones. With `--quick` what takes long is left out; other flags are Google Benchmark's.
#include <benchmark/benchmark.h>
#include <ramet/materialize.h>
#include <ramet/ramet.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <chrono>
#include <functional>

#include "memory_limit.h"
#include "models.h"

namespace ramet::bench {
namespace {

/// Held until there are this many bytes of them, or so many clones; and so warm that the next ones find no page that
/// the system has to ask its host for.
constexpr std::size_t most_bytes = std::size_t{1} << 30, most_clones = 50;

constexpr int64_t mib = int64_t{1} << 20;

/// Makes a clone, and counts the time until it is taken, or gone.
template <class Make, class Take>
void timed(benchmark::State& state, const Make& make, const Take& take) {
  const auto begin = std::chrono::steady_clock::now();
  take(make());
  state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
}

/// Gives what was freed back to the system: the next clones of every contestant need fresh memory.
void forget() {
  memory::empty_cache();
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

template <class Make>
void held(benchmark::State& state, std::size_t bytes, const Make& make) {
  const std::size_t most = std::clamp<std::size_t>(most_bytes / bytes, 1, most_clones);
  std::vector<decltype(make())> clones;
  const auto begin = std::chrono::steady_clock::now();
  while (clones.size() < most && std::chrono::steady_clock::now() - begin < std::chrono::seconds(1)) {
    clones.push_back(make());
  }
  clones.clear();
  forget();
  for (auto _ : state) {
    if (clones.size() >= most) {
      clones.clear();
      forget();
    }
    timed(state, make, [&](auto&& made) { clones.push_back(std::move(made)); });
  }
}

template <class Make>
void dropped(benchmark::State& state, const Make& make) {
  make();  // leaves its memory to the first one
  for (auto _ : state) timed(state, make, [](auto&& made) { benchmark::DoNotOptimize(made); });
}

void add(const std::string& name, const std::function<void(benchmark::State&)>& run) {
  benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMillisecond)->UseManualTime();
}

template <class Make>
void add(const std::string& job, const std::string& who, std::size_t bytes, const Make& make) {
  add(job + "/" + who + "/held", [=](benchmark::State& state) { held(state, bytes, make); });
  add(job + "/" + who + "/dropped", [=](benchmark::State& state) { dropped(state, make); });
}

/// The bytes of `net` by each way that the processor has, into memory whose pages are in place.
void add_limit(const std::string& job, std::size_t bytes) {
  const auto whole = static_cast<int64_t>(bytes / 4096 * 4096 + 4096);
  for (const WayToCopy& way : ways_to_copy()) {
    add(job + "/limit: " + way.name + "/dropped", [=](benchmark::State& state) {
      const at::Tensor from = at::ones({whole}, at::kByte), to = at::ones({whole}, at::kByte);
      auto* target = static_cast<char*>(to.mutable_data_ptr());
      const auto* source = static_cast<const char*>(from.const_data_ptr());
      for (auto _ : state) {
        timed(
            state, [&] { return copy_in_parallel(way, target, source, whole), 0; }, [](int) {});
      }
    });
  }
}

/// A clone's bytes alone: neither a walk nor modules.
template <class Net>
void add_copy_phase(const std::string& job, const Net& net) {
  auto graph = std::make_shared<core::Graph>();
  const core::NodeId root = graph->add_node(core::NodeKind::module, nullptr);
  std::vector<core::NodeId> nodes;
  for (const auto& tensor : net->parameters()) nodes.push_back(graph->add_tensor(tensor));
  for (const core::NodeId node : nodes) {
    graph->add_slot(root, core::SlotKind::parameter, graph->add_name("p" + std::to_string(node)), node);
  }
  const core::Plan plan = core::plan(*graph, core::catalog(*graph), {});
  add(job, "Ramet: copy phase", bytes_of(*net), [=] { return core::materialize(*graph, plan, 1); });
}

template <class Net>
void add_each_tensor(const std::string& job, const Net& net) {
  add(job, "a clone() a tensor", bytes_of(*net), [=] {
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> clones;
    for (const auto& tensor : net->parameters()) clones.push_back(tensor.clone());
    return clones;
  });
}

/// Every mode that a clone in C++ has, each for all of the model.
const std::vector<std::pair<std::string, CloneOptions>>& modes() {
  static const std::vector<std::pair<std::string, CloneOptions>> result{
      {"Ramet", CloneOptions()},
      {"Ramet: share", CloneOptions().share(true)},
      {"Ramet: alias", CloneOptions().alias(true)},
      {"Ramet: lazy", CloneOptions().lazy(true)},
      {"Ramet: differentiable", CloneOptions().differentiable(true)},
      {"Ramet: init", CloneOptions().init(true)},
      {"Ramet: meta", CloneOptions().meta(true)},
  };
  return result;
}

/// Whether a model has what a mode asks for: init needs modules that can be initialised anew.
template <class Net>
bool applies(const Net& net, const CloneOptions& options) {
  try {
    plan(net, options);
    return true;
  } catch (const PlanError&) {
    return false;
  }
}

template <class Net>
void add_job(const std::string& job, const Net& net, bool has_clone = true) {
  const std::size_t bytes = bytes_of(*net);
  if (has_clone) add(job, "Module::clone()", bytes, [=] { return net->clone(); });
  add_each_tensor(job, net);
  for (const auto& [who, options] : modes()) {
    if (!applies(net, options)) continue;
    add(job, who, bytes, [=, options = options] { return clone(net, options); });
  }
}

template <class Net>
void add_growth(const std::string& job, const Net& net) {
  const std::size_t bytes = bytes_of(*net);
  add(job + "/Module::clone()/dropped", [=](benchmark::State& it) { dropped(it, [&] { return net->clone(); }); });
  add(job + "/a clone() a tensor/dropped", [=](benchmark::State& it) {
    dropped(it, [&] {
      const torch::NoGradGuard no_grad;
      std::vector<torch::Tensor> clones;
      for (const auto& tensor : net->parameters()) clones.push_back(tensor.clone());
      return clones;
    });
  });
  add(job + "/Ramet/dropped", [=](benchmark::State& it) { dropped(it, [&] { return clone(net); }); });
  if (bytes >= static_cast<std::size_t>(mib)) add_limit(job, bytes);
}

void add_all(bool quick) {
  const auto net = transformer();
  add_job("Transformer(512, 8, 6, 6)", net);
  add_copy_phase("Transformer(512, 8, 6, 6)", net);
  add_limit("Transformer(512, 8, 6, 6)", bytes_of(*net));
  const auto layers = tiny_layers(2000);
  add_job("2000 Linear(8, 8)", layers);
  add_job("ConvNet", convnet());
  add_job("4000 tensors of 256 bytes", tiny_tensors(4000), /*has_clone=*/false);
  add_copy_phase("4000 tensors of 256 bytes", tiny_tensors(4000));
  for (const int count : quick ? std::vector{1000} : std::vector{100, 1000, 10000, 50000}) {
    add_growth("modules " + std::to_string(count), tiny_layers(count));
  }
  for (const int size : quick ? std::vector{64} : std::vector{1, 4, 16, 64, 256, 1024}) {
    add_growth("MiB " + std::to_string(size), of_bytes(size * mib));
  }
}

}  // namespace
}  // namespace ramet::bench

int main(int argc, char** argv) {
  // What comes from the command line stands last, and wins.
  std::vector<std::string> texts{argv[0], "--benchmark_enable_random_interleaving=true", "--benchmark_repetitions=9",
                                 "--benchmark_min_time=0.05", "--benchmark_out_format=json"};
  bool quick = false;
  for (int i = 1; i < argc; ++i) {
    quick = quick || std::string_view(argv[i]) == "--quick";
    if (std::string_view(argv[i]) != "--quick") texts.emplace_back(argv[i]);
  }
  // Clones of a whole model stay with the process: what is measured is the cache, not its limit.
  ramet::memory::set_limit(std::int64_t{2} << 30);
  std::vector<char*> arguments;
  for (std::string& text : texts) arguments.push_back(text.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;
  ramet::bench::add_all(quick);
  benchmark::RunSpecifiedBenchmarks();
}
