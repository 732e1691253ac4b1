/// Every mode with every option: what each tensor of the clone is then, or the error, as tests/matrix.txt has it, which
/// the Python front's test reads too. Each cell that works is checked whole: values, storage, flags, gradients, ties,
/// the words of plan and relation, and what the other side has after a write to one, whichever is written first.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/optimizers.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

#include <map>
#include <set>
#include <sstream>

namespace {

using ramet::CloneOptions;
using testing::HasSubstr;

constexpr double fresh = 5;  // what the initializer writes

struct Log {
  std::vector<double> losses{0.5};
};

struct HeadImpl : torch::nn::Module {
  explicit HeadImpl(const torch::Tensor& tied)
      : weight(register_parameter("weight", tied)), bias(register_parameter("bias", torch::rand({6}))) {}
  torch::Tensor weight, bias;
  RAMET_MODULE(HeadImpl, weight, bias)
};
TORCH_MODULE(Head);

struct PartImpl : torch::nn::Module {
  explicit PartImpl(const torch::Tensor& tied) : norm(torch::nn::LayerNormOptions({4})), head(tied) {
    register_module("norm", norm);
    register_module("head", head);
  }
  torch::nn::LayerNorm norm;
  Head head;
  RAMET_MODULE(PartImpl, norm, head)
};
TORCH_MODULE(Part);

struct WholeImpl : torch::nn::Module {
  WholeImpl() : embed(6, 4), part(embed->weight) {
    register_module("embed", embed);
    register_module("part", part);
    steps = register_buffer("steps", torch::arange(3));
  }
  torch::Tensor forward() {
    const torch::Tensor x = part->norm(embed(torch::tensor({1, 2})));
    return torch::linear(x, part->head->weight, part->head->bias).pow(2).sum();
  }
  torch::nn::Embedding embed;
  Part part;
  torch::Tensor steps;
  std::shared_ptr<Log> log = std::make_shared<Log>();
  RAMET_MODULE(WholeImpl, embed, part, steps, log)
};
TORCH_MODULE(Whole);

struct Cell {
  std::string mode, option, text;
};

std::ostream& operator<<(std::ostream& out, const Cell& cell) { return out << cell.mode << ", " << cell.option; }

std::vector<std::string> split(const std::string& text, const std::string& by) {
  std::vector<std::string> result;
  std::size_t from = 0;
  for (std::size_t to = text.find(by); to != std::string::npos; to = text.find(by, from)) {
    result.push_back(text.substr(from, to - from));
    from = to + by.size();
  }
  result.push_back(text.substr(from));
  return result;
}

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

// memo is Python's alone.
const std::set<std::string> modes{"copy", "share", "alias", "lazy", "differentiable", "init", "meta"};
const std::set<std::string> options{"nothing",     "freeze", "freeze a part",  "untie",         "grads",
                                    "device cpu",  "dtype",  "the same dtype", "keep a module", "keep plain state",
                                    "device meta", "within", "clones",         "session"};

std::vector<Cell> cells() {
  std::istringstream table(
#include "matrix.inc"
  );
  std::vector<Cell> result;
  std::string mode;
  for (std::string line; std::getline(table, line);) {
    if (line.empty() || line[0] == '#') continue;
    const std::vector<std::string> fields = split(line, "|");
    if (!trimmed(fields[0]).empty()) mode = trimmed(fields[0]);
    const Cell cell{mode, trimmed(fields[1]), trimmed(fields[2])};
    if (modes.count(mode) != 0 && options.count(cell.option) != 0) result.push_back(cell);
  }
  return result;
}

/// What one tensor of the clone is.
struct Expected {
  Expected(const std::string& cell, const std::string& path) {
    for (const std::string& words : split(cell, "; ")) read(words, path);
  }

  bool is(const std::string& flag) const { return flags.count(flag) != 0; }
  bool reaches_the_source() const { return what == "shared" || what == "aliased"; }

  std::string what;
  std::set<std::string> flags;

 private:
  // "what flags", for everything or, after the first "; ", for the path or the "prefix*" that it begins with.
  void read(const std::string& text, const std::string& path) {
    std::vector<std::string> words = split(text, " ");
    if (!what.empty()) {
      const std::string where = words[0];
      words.erase(words.begin());
      const bool named = where.back() == '*' ? path.starts_with(where.substr(0, where.size() - 1)) : path == where;
      if (!named) return;
    }
    what = words[0];
    flags = {words.begin() + 1, words.end()};
  }
};

void fill(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  for (torch::Tensor& parameter : module.parameters(/*recurse=*/false)) parameter.fill_(fresh);
}

CloneOptions rules(const Cell& cell) {
  CloneOptions result;
  if (cell.mode == "copy") result.copy(true);
  if (cell.mode == "share") result.share(true);
  if (cell.mode == "alias") result.alias(true);
  if (cell.mode == "lazy") result.lazy(true);
  if (cell.mode == "differentiable") result.differentiable(true);
  if (cell.mode == "init") result.init(ramet::parameters).initializer(fill);
  if (cell.mode == "meta") result.meta(true);
  if (cell.option == "freeze") result.freeze(true);
  if (cell.option == "freeze a part") result.freeze("part.norm");
  if (cell.option == "untie") result.untie("part.head.weight");
  if (cell.option == "grads") result.grads(true);
  if (cell.option == "device cpu") result.device(torch::kCPU);
  if (cell.option == "device meta") result.device(torch::kMeta);
  if (cell.option == "dtype") result.dtype(torch::kDouble);
  if (cell.option == "the same dtype") result.dtype(torch::kFloat);
  if (cell.option == "keep a module") result.keep("part.norm");
  if (cell.option == "keep plain state") result.keep("log");
  return result;
}

using ModulePtr = std::shared_ptr<torch::nn::Module>;

/// A source and its clones; what plan and relation say of them, by paths that begin with `prefix`.
struct Made {
  ModulePtr source;
  std::vector<ModulePtr> clones;
  std::optional<ramet::Plan> plan;
  std::vector<ramet::Relation> relations;
  std::string prefix;
};

/// The optimizer trains the clone's parameters; its state is its own.
void check_optimizer(const Whole& net, torch::optim::Adam& theirs, const Whole& clone, torch::optim::Adam& mine) {
  const auto before = net->parameters(), after = clone->parameters();
  ASSERT_EQ(mine.param_groups()[0].params().size(), before.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    ASSERT_TRUE(mine.param_groups()[0].params()[i].is_same(after[i]));
    const auto average = [i](torch::optim::Adam& adam) {
      const auto key = adam.param_groups()[0].params()[i].unsafeGetTensorImpl();
      return static_cast<const torch::optim::AdamParamState&>(*adam.state().at(key)).exp_avg();
    };
    EXPECT_FALSE(average(mine).is_same(average(theirs)));
    EXPECT_EQ(average(mine).device(), after[i].device());
    EXPECT_TRUE(average(mine).is_meta() || average(mine).equal(average(theirs)));
  }
}

template <class Source>
void make_plainly(Made& made, const Source& source, const Cell& cell, const CloneOptions& rules) {
  made.source = source.ptr();
  made.plan = ramet::plan(source, rules);
  for (const Source& clone : ramet::clones(source, cell.option == "clones" ? 3 : 1, rules)) {
    made.clones.push_back(clone.ptr());
    made.relations.push_back(ramet::relation(source, clone));
  }
}

void make_session(Made& made, const Whole& net, const CloneOptions& rules) {
  torch::optim::Adam adam(net->parameters());
  adam.step();
  const auto source = std::tie(net, adam);
  made.source = net.ptr();
  made.plan = ramet::plan(source, rules);
  const auto clone = ramet::clone(source, rules);
  made.relations.push_back(ramet::relation(source, clone));
  made.clones.push_back(std::get<0>(clone).ptr());
  made.prefix = "0.";
  check_optimizer(net, adam, std::get<0>(clone), *std::get<1>(clone));
}

Made make(const Cell& cell) {
  Whole net;
  net->forward().backward();
  Made made;
  CloneOptions rules = ::rules(cell);
  if (cell.option == "within") {
    make_plainly(made, net->part, cell, rules.within(net));
  } else if (cell.option == "session") {
    make_session(made, net, rules);
  } else {
    make_plainly(made, net, cell, rules);
    const auto log = [](const ModulePtr& module) { return std::dynamic_pointer_cast<WholeImpl>(module)->log; };
    EXPECT_EQ(log(made.clones[0]) == net->log, cell.option == "keep plain state");
  }
  return made;
}

/// Parameters and buffers, a tied one under each of its paths, in walk order.
std::vector<std::pair<std::string, torch::Tensor>> tensors(const torch::nn::Module& module,
                                                           const std::string& at = "") {
  std::vector<std::pair<std::string, torch::Tensor>> result;
  for (const auto& item : module.named_parameters(false)) result.emplace_back(at + item.key(), item.value());
  for (const auto& item : module.named_buffers(false)) result.emplace_back(at + item.key(), item.value());
  for (const auto& child : module.named_children()) {
    for (auto& inner : tensors(*child.value(), at + child.key() + ".")) result.push_back(std::move(inner));
  }
  return result;
}

bool flows(const Expected& expected) { return expected.what == "shared" || expected.what == "linked"; }

class MatrixTest : public testing::TestWithParam<std::tuple<Cell, bool>> {
 protected:
  void expect(const std::string& cell, const std::string& inside) {
    for (const auto& [path, tensor] : tensors(*made_.source)) expected_.emplace_back(cell, inside + path);
  }

  void check_words(std::size_t clone, std::size_t i, const std::string& path, const torch::Tensor& a,
                   const torch::Tensor& b) const {
    static const std::map<std::string, std::string> planned{{"own", "copy"},      {"shared", "share"},
                                                            {"aliased", "alias"}, {"linked", "differentiable"},
                                                            {"fresh", "init"},    {"empty", "meta"}};
    const Expected& it = expected_[i];
    const std::string mode = made_.plan->find(made_.prefix + path)->mode;
    const bool converted = it.is("double") || (b.is_meta() && !a.is_meta());
    const auto found = planned.find(it.what);
    EXPECT_TRUE(converted || mode == "keep" || mode == (found == planned.end() ? it.what : found->second)) << mode;
    const bool changed = a.dtype() != b.dtype() || it.what == "fresh" || it.what == "empty";
    const bool named = it.reaches_the_source() || it.what == "lazy";
    EXPECT_EQ(made_.relations[clone][made_.prefix + path], named ? it.what : changed ? "different" : "equal");
  }

  static void check_tensor(const Expected& it, const torch::Tensor& a, const torch::Tensor& b) {
    EXPECT_EQ(b.is_same(a), it.what == "shared");
    if (it.what == "shared") return;
    EXPECT_EQ(b.sizes(), a.sizes());
    EXPECT_EQ(b.strides(), a.strides());
    EXPECT_EQ(b.scalar_type(), it.is("double") && a.is_floating_point() ? torch::kDouble : a.scalar_type());
    EXPECT_EQ(b.requires_grad(), a.requires_grad() && !it.is("frozen"));
    EXPECT_EQ(b.is_meta(), it.what == "empty");
    const bool linked = it.what == "linked" && a.is_floating_point();
    EXPECT_EQ(b.is_leaf(), !linked);
    if (b.is_meta()) return;
    EXPECT_TRUE(b.equal(it.what == "fresh" ? torch::full_like(b, fresh) : a.to(b.scalar_type())));
    if (it.what != "lazy") {
      EXPECT_EQ(b.is_alias_of(a), it.what == "aliased");
    }
    if (linked) return;
    EXPECT_EQ(b.grad().defined(), it.is("grad") && a.grad().defined());
    if (b.grad().defined()) {
      EXPECT_TRUE(b.grad().equal(a.grad()));
      EXPECT_FALSE(b.grad().is_alias_of(a.grad()));
    }
  }

  void check_ties(const torch::nn::Module& clone, bool untied) const {
    const auto theirs = tensors(*made_.source), mine = tensors(clone);
    for (std::size_t i = 0; i < mine.size(); ++i) {
      for (std::size_t j = 0; j < mine.size(); ++j) {
        const bool alone =
            untied && i != j && (mine[i].first == "part.head.weight" || mine[j].first == "part.head.weight");
        EXPECT_EQ(mine[i].second.is_same(mine[j].second), !alone && theirs[i].second.is_same(theirs[j].second));
      }
    }
  }

  /// The clone's backward fills its own gradients, and of the source's those of what is shared or linked.
  void check_gradients(const ModulePtr& clone) const {
    const auto whole = std::dynamic_pointer_cast<WholeImpl>(clone);
    const auto theirs = tensors(*made_.source), mine = tensors(*clone);
    const auto parameters = clone->parameters();
    const auto learns = [](const torch::Tensor& it) { return it.requires_grad() && !it.is_meta(); };
    if (!whole || !std::all_of(parameters.begin(), parameters.end(), learns)) return;
    made_.source->zero_grad();
    clone->zero_grad();
    whole->forward().backward();
    for (std::size_t i = 0; i < mine.size(); ++i) {
      const torch::Tensor &a = theirs[i].second, &b = mine[i].second;
      if (!a.is_floating_point()) continue;
      bool flowed = false;
      for (std::size_t j = 0; j < mine.size(); ++j) flowed |= theirs[j].second.is_same(a) && flows(expected_[j]);
      EXPECT_EQ(a.grad().defined(), flowed) << theirs[i].first;
      if (expected_[i].what == "shared") {
        EXPECT_TRUE(b.grad().is_same(a.grad()));
      }
      if (!flows(expected_[i])) {
        EXPECT_TRUE(b.grad().defined()) << mine[i].first;
      }
    }
  }

  /// A write reaches the other side by those paths that are the source's, and by what is tied to them there.
  void check_write(const torch::nn::Module& writer, const torch::nn::Module& reader, int base) const {
    const torch::NoGradGuard no_grad;
    const auto written = tensors(writer), read = tensors(reader);
    std::vector<torch::Tensor> before;
    for (const auto& [path, tensor] : read) before.push_back(tensor.detach().clone());
    for (std::size_t i = 0; i < written.size(); ++i) written[i].second.fill_(base + static_cast<int>(i));
    for (std::size_t i = 0; i < read.size(); ++i) {
      if (read[i].second.is_meta()) continue;
      torch::Tensor now = before[i];
      for (std::size_t j = read.size(); j-- > 0;) {
        if (read[j].second.is_same(read[i].second) && expected_[j].reaches_the_source()) now = written[j].second;
      }
      EXPECT_TRUE(read[i].second.equal(now)) << read[i].first;
    }
  }

  Made made_;
  std::vector<Expected> expected_;
};

TEST_P(MatrixTest, EachModeWithEachOption) {
  const auto& [cell, source_first] = GetParam();
  if (cell.text[0] == '!') {
    try {
      make(cell);
      FAIL() << "no PlanError";
    } catch (const ramet::PlanError& error) {
      EXPECT_THAT(error.what_without_backtrace(), HasSubstr(cell.text.substr(2)));
    }
    return;
  }
  made_ = make(cell);
  expect(cell.text, cell.option == "within" ? "part." : "");
  const auto theirs = tensors(*made_.source);
  for (std::size_t clone = 0; clone < made_.clones.size(); ++clone) {
    const auto mine = tensors(*made_.clones[clone]);
    ASSERT_EQ(mine.size(), theirs.size());
    for (std::size_t i = 0; i < mine.size(); ++i) {
      SCOPED_TRACE(mine[i].first);
      check_words(clone, i, mine[i].first, theirs[i].second, mine[i].second);
      check_tensor(expected_[i], theirs[i].second, mine[i].second);
    }
    check_ties(*made_.clones[clone], cell.option == "untie");
    check_gradients(made_.clones[clone]);
  }
  for (std::size_t i = 0; i < made_.clones.size(); ++i) {
    const torch::nn::Module &clone = *made_.clones[i], &source = *made_.source;
    const int base = 20 + 40 * static_cast<int>(i);
    check_write(source_first ? source : clone, source_first ? clone : source, base);
    check_write(source_first ? clone : source, source_first ? source : clone, base + 10);
    for (std::size_t j = i + 1; j < made_.clones.size(); ++j) check_write(clone, *made_.clones[j], base + 20);
  }
}

INSTANTIATE_TEST_SUITE_P(Cells, MatrixTest, testing::Combine(testing::ValuesIn(cells()), testing::Bool()));

TEST(MatrixTableTest, HasEveryCell) {
  std::set<std::pair<std::string, std::string>> met;
  for (const Cell& cell : cells()) met.emplace(cell.mode, cell.option);
  EXPECT_EQ(met.size(), modes.size() * options.size());
}

}  // namespace
