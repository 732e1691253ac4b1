/// A skeleton that a checkpoint fills: a tied model without values, by `meta`, what `torch::save` has written, and
/// `ramet::assign`, which keeps the ties. LibTorch's own ways need memory that is there already.
/// `skeleton --small` takes a smaller model.
#include <ramet/ramet.h>

#include <filesystem>
#include <functional>
#include <map>
#include <random>

#include "claims.h"
#include "tied_model.h"

namespace {

using ramet::CloneOptions;

/// A file that is gone when the program ends.
struct File {
  ~File() { std::filesystem::remove(path); }
  const std::string path =
      std::filesystem::temp_directory_path() / ("skeleton" + std::to_string(std::random_device()()) + ".pt");
};

int64_t bytes(const torch::nn::Module& module) {
  int64_t result = 0;
  for (const auto& tensor : module.parameters()) result += static_cast<int64_t>(tensor.nbytes());
  return result;
}

/// What a file has for a model's parameters, by path; one name of a tied tensor is enough.
std::map<std::string, torch::Tensor> read(const std::string& path, const torch::nn::Module& module) {
  torch::serialize::InputArchive archive;
  archive.load_from(path);
  std::map<std::string, torch::Tensor> result;
  const std::function<void(torch::serialize::InputArchive&, const torch::nn::Module&, const std::string&)> add =
      [&](torch::serialize::InputArchive& from, const torch::nn::Module& owner, const std::string& prefix) {
        for (const auto& item : owner.named_parameters(/*recurse=*/false)) {
          from.read(item.key(), result[prefix + item.key()]);
        }
        for (const auto& child : owner.named_children()) {
          torch::serialize::InputArchive inner;
          from.read(child.key(), inner);
          add(inner, *child.value(), prefix + child.key() + ".");
        }
      };
  add(archive, module, "");
  return result;
}

bool is_tied(const TiedModel& model) { return model->head->weight.is_same(model->embed->weight); }

bool computes_the_same(TiedModel a, TiedModel b) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor ids = torch::arange(6);
  return a(ids).equal(b(ids));
}

/// What LibTorch itself says to a module without values.
std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return {};
}

void fill_whole(Claims& claims, const TiedModel& base, const TiedModel& tuned, const std::string& path) {
  const TiedModel skeleton = ramet::clone(base, CloneOptions().meta(true));
  const auto parameters = skeleton->parameters();
  const auto is_meta = [](const torch::Tensor& tensor) { return tensor.is_meta(); };
  claims.check("a skeleton has shapes and no values", std::all_of(parameters.begin(), parameters.end(), is_meta));
  claims.check("costs nothing", ramet::plan(base, CloneOptions().meta(true)).nbytes() == 0);
  claims.check("and is tied as its source", is_tied(skeleton));
  TiedModel other = ramet::clone(base, CloneOptions().meta(true));
  claims.check("torch::load cannot fill it", !error_of([&] { torch::load(other, path); }).empty());
  claims.check("nor can to()", !error_of([&] { other->to(torch::kCPU); }).empty());
  ramet::assign(skeleton, read(path, *skeleton));
  claims.check("filled, it computes what the checkpoint's model does", computes_the_same(skeleton, tuned));
  claims.check("the tie is still there", is_tied(skeleton));
  const torch::NoGradGuard no_grad;
  const std::vector<torch::Tensor> before = values(*base);
  skeleton->head->weight.zero_();
  claims.check("a write to the head is one to its embedding", skeleton->embed->weight.count_nonzero().item<int>() == 0);
  claims.check("and to nothing of the source's", equal(values(*base), before));
}

/// A checkpoint of one part; everything else is the source's own.
void fill_part(Claims& claims, const TiedModel& base, const TiedModel& tuned, const std::string& path) {
  torch::save(tuned->body, path);
  const auto options = CloneOptions().share(true).meta("body");
  const TiedModel variant = ramet::clone(base, options);
  ramet::assign(variant->body, read(path, *variant->body));
  claims.check("the skeleton of one part, the rest shared, costs nothing", ramet::plan(base, options).nbytes() == 0);
  claims.check("its part is the checkpoint's", variant->body->weight.equal(tuned->body->weight));
  const ramet::Relation relation = ramet::relation(base, variant);
  claims.check("all else is the source's own",
               relation.different() == std::vector<std::string>{"body.weight"} && relation.shared().size() == 4);
}

}  // namespace

int main(int argc, char** argv) {
  const int vocabulary = begin(argc, argv, 1000, 50000);
  Claims claims;
  const TiedModel base(vocabulary, 64), tuned(vocabulary, 64);
  const File file;
  torch::save(tuned, file.path);
  std::cout << "A tied model of " << bytes(*base) / 1024 << " KiB of weights\n";
  fill_whole(claims, base, tuned, file.path);
  fill_part(claims, base, tuned, file.path);
  return claims.exit_code();
}
