/// Clones real models in every way that Ramet has, checks each claim, and times it beside Module::clone(). Exits with 1
/// if any check fails.
#include <chrono>
#include <functional>
#include <iomanip>
#include <iostream>
#include <set>

#include "resnet.h"
#include "tied_model.h"

namespace {

using Names = std::set<std::string>;

std::vector<std::string> failures;
std::vector<std::vector<std::string>> times{{"model", "Ramet", "median", "Module::clone()", "ratio"}};

void check(const std::string& model, const std::string& claim, bool holds) {
  std::cout << (holds ? "  ok   " : "  FAIL ") << claim << '\n';
  if (!holds) failures.push_back(model + ": " + claim);
}

/// Says whether Module::clone() does a thing too; nothing depends on it.
void remark(const std::string& claim, bool holds) {
  std::cout << "       Module::clone() " << (holds ? "does so too" : "does not: " + claim) << '\n';
}

template <class Net>
torch::OrderedDict<std::string, torch::Tensor> tensors(const Net& net) {
  auto all = net->named_parameters();
  all.update(net->named_buffers());
  return all;
}

/// The names of the tensors that two models both hold.
template <class Net>
Names shared(const Net& a, const Net& b) {
  Names result;
  const auto theirs = tensors(b);
  for (const auto& item : tensors(a)) {
    if (item.value().is_same(theirs[item.key()])) result.insert(item.key());
  }
  return result;
}

template <class Net>
Names beneath(const Net& net, const std::string& part) {
  Names result;
  for (const std::string& name : tensors(net).keys()) {
    if (name.rfind(part + ".", 0) == 0) result.insert(name);
  }
  // Tied tensors move together: what a name of the part is tied to is shared with it.
  for (const ramet::Tie& tie : ramet::catalog(net)) {
    const bool inside =
        std::any_of(tie.names.begin(), tie.names.end(), [&](const auto& it) { return result.count(it) != 0; });
    if (inside) result.insert(tie.names.begin(), tie.names.end());
  }
  return result;
}

/// How many parameter slots hold nothing: what a catalog that groups by identity alone takes for one shared parameter.
int64_t missing_parameters(const torch::nn::Module& net) {
  int64_t result = 0;
  for (const auto& module : net.modules()) {
    if (const auto* conv = dynamic_cast<const torch::nn::Conv2dImpl*>(module.get())) result += !conv->bias.defined();
    if (const auto* linear = dynamic_cast<const torch::nn::LinearImpl*>(module.get()))
      result += !linear->bias.defined();
  }
  return result;
}

/// Medians in milliseconds of calls made in turn, so that a drift of the machine meets all of them.
std::vector<double> medians(const std::vector<std::function<void()>>& calls, int repeats = 5) {
  std::vector<std::vector<double>> taken(calls.size());
  for (int i = 0; i < repeats; ++i) {
    for (std::size_t k = 0; k < calls.size(); ++k) {
      const auto start = std::chrono::steady_clock::now();
      calls[k]();
      taken[k].push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    }
  }
  std::vector<double> result;
  for (auto& list : taken) {
    std::nth_element(list.begin(), list.begin() + repeats / 2, list.end());
    result.push_back(list[repeats / 2]);
  }
  return result;
}

std::string fixed(double value, const char* unit) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(value < 10 ? 2 : 1) << value << unit;
  return out.str();
}

template <class Net, class Forward>
void show_model(const std::string& name, Net net, const std::string& part, const Forward& forward) {
  const auto plan = ramet::plan(net);
  std::cout << '\n'
            << name << ": " << net->modules().size() << " modules, " << tensors(net).size() << " tensors, "
            << fixed(static_cast<double>(plan.nbytes()) / (1 << 20), " MiB") << '\n';
  net->eval();
  const auto ties = ramet::catalog(net);
  if (ties.empty()) {
    std::cout << "  ties: none";
    if (const int64_t missing = missing_parameters(*net); missing > 0) {
      std::cout << ". The usual catalog, which groups by identity alone, reports " << missing
                << " slots as one\n        shared parameter: every missing bias is the same undefined tensor";
    }
    std::cout << '\n';
  } else {
    std::cout << ties;
  }

  Net clone = ramet::clone(net);
  {
    const torch::NoGradGuard no_grad;
    const torch::Tensor expected = forward(net);
    check(name, "nothing shared: the clone's forward is equal", expected.equal(forward(clone)));
    check(name, "no tensor is the source's", shared(net, clone).empty());
    for (torch::Tensor& parameter : clone->parameters()) parameter.add_(1);
    check(name, "a write to the clone stays on its side", expected.equal(forward(net)));
  }
  const auto again = ramet::catalog(clone);
  check(name, "the clone has the ties of its source",
        std::equal(ties.begin(), ties.end(), again.begin(), again.end(),
                   [](const ramet::Tie& a, const ramet::Tie& b) { return a.kind == b.kind && a.names == b.names; }));

  const auto all = ramet::CloneOptions().share(true);
  Net tower = ramet::clone(net, all);
  forward(tower).pow(2).sum().backward();
  bool filled = true;
  const auto theirs = tower->named_parameters();
  for (const auto& item : net->named_parameters()) {
    const torch::Tensor& other = theirs[item.key()];
    filled = filled && item.value().grad().defined() && item.value().grad().is_same(other.grad());
  }
  check(name, "everything shared: one backward through the clone fills both's gradients", filled);

  const auto one_part = ramet::CloneOptions().share(part);
  const Names wanted = beneath(net, part);
  check(name, "share(\"" + part + "\"): exactly its " + std::to_string(wanted.size()) + " tensors are shared",
        !wanted.empty() && shared(net, ramet::clone(net, one_part)) == wanted);

  const auto result = medians({[&] { net->clone(); }, [&] { ramet::clone(net); }, [&] { ramet::clone(net, all); },
                               [&] { ramet::clone(net, one_part); }, [&] { ramet::catalog(net); }});
  const std::string theirs_ms = fixed(result[0], " ms");
  times.push_back({name, "copy", fixed(result[1], " ms"), theirs_ms, fixed(result[0] / result[1], "x")});
  times.push_back(
      {name, "share(true)", fixed(result[2], " ms"), theirs_ms + ", cannot share", fixed(result[0] / result[2], "x")});
  times.push_back({name, "share(\"" + part + "\")", fixed(result[3], " ms"), theirs_ms + ", cannot share",
                   fixed(result[0] / result[3], "x")});
  times.push_back({name, "catalog", fixed(result[4], " ms"), "has none", "-"});
}

void show_what_upstream_loses() {
  std::cout << "\nWhat Module::clone() loses\n";
  TiedModel net(11, 8);
  net->norm->weight.requires_grad_(false);
  const TiedModel ours = ramet::clone(net);
  const auto upstream = std::dynamic_pointer_cast<TiedModelImpl>(net->clone());
  check("tied", "a tied weight is tied in the clone", ours->head->weight.is_same(ours->embed->weight));
  remark("the clone has two weights", upstream->head->weight.is_same(upstream->embed->weight));
  check("tied", "a frozen parameter is frozen in the clone", !ours->norm->weight.requires_grad());
  remark("it trains again", !upstream->norm->weight.requires_grad());
  torch::nn::Sequential list{{{"first", torch::nn::Linear(2, 2)}}};
  list->eval();
  const auto mine = ramet::clone(list);
  const auto theirs = std::dynamic_pointer_cast<torch::nn::SequentialImpl>(list->clone());
  check("sequential", "child names and the training flag are kept",
        !mine->is_training() && mine->named_children().contains("first"));
  remark("it comes back in training mode, its child renamed",
         !theirs->is_training() && theirs->named_children().contains("first"));
}

void show_layers() {
  std::cout << "\nThe Transformer's layers\n";
  torch::nn::TransformerEncoderLayer layer(torch::nn::TransformerEncoderLayerOptions(512, 8));
  layer->eval();
  auto layers = ramet::clones(layer, 6);
  const torch::NoGradGuard no_grad;
  const auto x = torch::rand({5, 1, 512});
  std::set<void*> pointers;
  bool equal = true;
  layers.push_back(layer);
  for (auto& it : layers) {
    equal = equal && layer->forward(x).equal(it->forward(x));
    for (const auto& parameter : it->parameters()) pointers.insert(parameter.data_ptr());
  }
  check("layers", "six clones of an encoder layer: each gives the same result", equal);
  check("layers", "and all seven are distinct", pointers.size() == 7 * layer->parameters().size());
  const auto result = medians({[&] { ramet::clones(layer, 6); },
                               [&] {
                                 for (int i = 0; i < 6; ++i) layer->clone();
                               }});
  std::cout << "  time: " << fixed(result[0], " ms") << "; Module::clone() six times: " << fixed(result[1], " ms")
            << " (" << fixed(result[1] / result[0], "x") << ")\n";
}

void print_times() {
  std::cout << "\nC++, medians of one interleaved run\n";
  for (const auto& row : times) {
    for (std::size_t i = 0; i < row.size(); ++i)
      std::cout << "  " << std::left << std::setw(i == 3 ? 26 : 17) << row[i];
    std::cout << '\n';
  }
}

}  // namespace

int main() {
  torch::manual_seed(0);
  show_model("ResNet-50", ResNet50(), "layer1", [](ResNet50& net) {
    return net->forward(torch::ones({1, 3, 64, 64}));
  });
  show_model("Transformer", torch::nn::Transformer(torch::nn::TransformerOptions(512, 8, 6, 6)), "encoder",
             [](torch::nn::Transformer& net) {
               return net->forward(torch::ones({9, 1, 512}), torch::ones({7, 1, 512}));
             });
  show_model("Tied model", TiedModel(1000, 64), "embed",
             [](TiedModel& net) { return net->forward(torch::arange(12)); });
  show_what_upstream_loses();
  show_layers();
  print_times();
  for (const std::string& failure : failures) std::cout << "FAILED " << failure << '\n';
  std::cout << "C++: " << (failures.empty() ? "every check holds" : std::to_string(failures.size()) + " checks failed")
            << '\n';
  return failures.empty() ? 0 : 1;
}
