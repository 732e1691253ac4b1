/// Clones real models in every way that Ramet has, checks each claim, and times it beside Module::clone(). Exits with 1
/// if any check fails.
#include <algorithm>
#include <chrono>
#include <functional>
#include <iomanip>
#include <iostream>
#include <set>
#include <sstream>

#include "plain_child.h"
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

/// The bytes of a model's tensors, a tied one once.
template <class Net>
std::size_t bytes(const Net& net) {
  std::set<const void*> seen;
  std::size_t result = 0;
  for (const auto& item : tensors(net)) {
    if (seen.insert(item.value().unsafeGetTensorImpl()).second) result += item.value().nbytes();
  }
  return result;
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

template <class Net>
void show_ties(const std::string& name, const Net& net) {
  const ramet::Catalog ties = ramet::catalog(net);
  std::cout << (ties.empty() ? "  ties: none\n" : "  ties:\n");
  if (const int64_t missing = missing_parameters(*net); missing > 1) {
    std::cout << "        (the usual catalog, which groups by identity alone, lists " << missing
              << " slots as one shared\n        parameter. All of them hold the same undefined tensor.)\n";
  }
  if (!ties.empty()) std::cout << ties;
  const ramet::Catalog theirs = ramet::catalog(ramet::clone(net));
  check(name, "the clone has the ties of its source",
        std::equal(ties.begin(), ties.end(), theirs.begin(), theirs.end(),
                   [](const ramet::Tie& a, const ramet::Tie& b) { return a.kind == b.kind && a.names == b.names; }));
}

/// Writes to every tensor of a model.
template <class Net>
void erase(const Net& net) {
  for (auto& item : tensors(net)) item.value().zero_();
}

template <class Net, class Forward>
void check_copy(const std::string& name, const Net& net, const Forward& forward) {
  const torch::NoGradGuard no_grad;
  const Net clone = ramet::clone(net), untouched = ramet::clone(net);
  const torch::Tensor expected = forward(net);
  check(name, "nothing shared: the clone's forward is equal", expected.equal(forward(clone)));
  check(name, "no tensor is the source's", shared(net, clone).empty());
  erase(clone);
  check(name, "a write to the clone stays on its side",
        expected.equal(forward(net)) && !expected.equal(forward(clone)));
  erase(net);
  check(name, "a write to the source stays on its side", expected.equal(forward(untouched)));
  const auto values = tensors(untouched);
  for (auto& item : tensors(net)) item.value().copy_(values[item.key()]);
}

template <class Net, class Forward>
void check_share(const std::string& name, Net net, const Forward& forward) {
  const Net tower = ramet::clone(net, ramet::CloneOptions().share(true));
  const auto theirs = tower->named_parameters();
  for (const auto& [side, through] : {std::pair("clone", tower), std::pair("source", net)}) {
    net->zero_grad();
    forward(through).pow(2).sum().backward();
    bool filled = true;
    for (const auto& item : net->named_parameters()) {
      const torch::Tensor& grad = item.value().grad();
      filled = filled && grad.defined() && grad.is_same(theirs[item.key()].grad());
    }
    check(name, "everything shared: one backward through the " + std::string(side) + " fills both's gradients", filled);
  }
}

template <class Net>
void check_part(const std::string& name, const Net& net, const std::string& part) {
  const Names wanted = beneath(net, part);
  check(name, "share(\"" + part + "\"): exactly its " + std::to_string(wanted.size()) + " tensors are shared",
        !wanted.empty() && shared(net, ramet::clone(net, ramet::CloneOptions().share(part))) == wanted);
}

template <class Net>
void time_all(const std::string& name, const Net& net, const std::string& part) {
  const auto everything = ramet::CloneOptions().share(true), one_part = ramet::CloneOptions().share(part);
  const auto result =
      medians({[&] { net->clone(); }, [&] { ramet::clone(net); }, [&] { ramet::clone(net, everything); },
               [&] { ramet::clone(net, one_part); }, [&] { ramet::catalog(net); }});
  const std::string peer = fixed(result[0], " ms");
  const std::vector<std::string> jobs{"copy", "share(true)", "share(\"" + part + "\")"};
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const bool can = i == 0;
    times.push_back({name, jobs[i], fixed(result[i + 1], " ms"), can ? peer : peer + ", cannot share",
                     can ? fixed(result[0] / result[i + 1], "x") : "-"});
  }
  times.push_back({name, "catalog", fixed(result[4], " ms"), "has none", "-"});
}

template <class Net, class Forward>
void show_model(const std::string& name, Net net, const std::string& part, const Forward& forward) {
  std::cout << '\n'
            << name << ": " << net->modules().size() << " modules, " << tensors(net).size() << " tensors, "
            << fixed(static_cast<double>(bytes(net)) / (1 << 20), " MiB") << '\n';
  net->eval();
  show_ties(name, net);
  check_copy(name, net, forward);
  check_share(name, net, forward);
  check_part(name, net, part);
  time_all(name, net, part);
}

void show_lost_ties() {
  const TiedModel net(11, 8);
  net->norm->weight.requires_grad_(false);
  const torch::Tensor before = at::detail::getDefaultCPUGenerator().get_state();
  const TiedModel ours = ramet::clone(net);
  const torch::Tensor between = at::detail::getDefaultCPUGenerator().get_state();
  const auto upstream = std::dynamic_pointer_cast<TiedModelImpl>(net->clone());
  const torch::Tensor after = at::detail::getDefaultCPUGenerator().get_state();
  check("tied", "a tied weight is tied in the clone", ours->head->weight.is_same(ours->embed->weight));
  remark("its clone has two weights", upstream->head->weight.is_same(upstream->embed->weight));
  check("tied", "a frozen parameter is frozen in the clone", !ours->norm->weight.requires_grad());
  remark("its clone trains it", !upstream->norm->weight.requires_grad());
  check("tied", "the random state does not advance", before.equal(between));
  remark("it initialises everything first", between.equal(after));
}

void show_lost_children() {
  torch::nn::Sequential list{{{"first", torch::nn::Linear(2, 2)}}};
  list->eval();
  const torch::nn::Sequential ours = ramet::clone(list);
  const auto upstream = std::dynamic_pointer_cast<torch::nn::SequentialImpl>(list->clone());
  check("sequential", "child names and the training flag are kept",
        !ours->is_training() && ours->named_children().contains("first"));
  remark("its clone is in training mode, its child renamed",
         !upstream->is_training() && upstream->named_children().contains("first"));
  const Scaled net(torch::full({2}, 3.0));
  const Scaled mine = ramet::clone(net);
  const auto theirs = std::dynamic_pointer_cast<ScaledImpl>(net->clone());
  check("plain", "a child without reset() is cloned with its values", mine->scale->value.equal(net->scale->value));
  remark("its clone's child starts anew", theirs->scale->value.equal(net->scale->value));
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
  show_model("ResNet-50", ResNet50(), "layer1", [](ResNet50 net) { return net->forward(torch::ones({1, 3, 64, 64})); });
  show_model("Transformer", torch::nn::Transformer(torch::nn::TransformerOptions(512, 8, 6, 6)), "encoder",
             [](torch::nn::Transformer net) {
               return net->forward(torch::ones({9, 1, 512}), torch::ones({7, 1, 512}));
             });
  show_model("Tied model", TiedModel(1000, 64), "embed", [](TiedModel net) { return net->forward(torch::arange(12)); });
  std::cout << "\nWhat Module::clone() loses\n";
  show_lost_ties();
  show_lost_children();
  show_layers();
  print_times();
  for (const std::string& failure : failures) std::cout << "FAILED " << failure << '\n';
  std::cout << "C++: " << (failures.empty() ? "every check holds" : std::to_string(failures.size()) + " checks failed")
            << '\n';
  return failures.empty() ? 0 : 1;
}
