/// What a clone with nothing shared must be: equal to its source, and with nothing in common with it.
#pragma once

#include <gtest/gtest.h>
#include <ramet/ramet.h>
#include <torch/torch.h>

namespace ramet {

/// Expects equal values in memory of their own.
inline void expect_copied(const torch::Tensor& source, const torch::Tensor& clone) {
  EXPECT_TRUE(source.equal(clone));
  EXPECT_FALSE(source.is_alias_of(clone));
}

/// Expects equal values in memory of their own, and writes to both: what is written to one side stays there.
inline void expect_own(const torch::Tensor& source, const torch::Tensor& clone) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor before = source.clone();
  EXPECT_TRUE(clone.equal(before));
  EXPECT_FALSE(clone.is_alias_of(source));
  clone.fill_(7);
  EXPECT_TRUE(source.equal(before));
  source.fill_(9);
  EXPECT_TRUE(clone.equal(torch::full_like(before, 7)));
}

/// Expects equal tensors with nothing in common and the same flags, that a write to one side stays there, and modules
/// of the same types and training flags.
inline void expect_twins(const torch::nn::Module& source, const torch::nn::Module& clone) {
  torch::NoGradGuard no_grad;
  const auto compare = [](const auto& sources, const auto& clones) {
    ASSERT_EQ(sources.keys(), clones.keys());
    for (const auto& item : sources) {
      const torch::Tensor &a = item.value(), &b = clones[item.key()];
      EXPECT_TRUE(a.equal(b)) << item.key();
      EXPECT_TRUE(a.numel() == 0 || !a.is_alias_of(b)) << item.key();
      EXPECT_EQ(a.requires_grad(), b.requires_grad()) << item.key();
      EXPECT_EQ(a.strides(), b.strides()) << item.key();
      if (a.numel() == 0) continue;
      const torch::Tensor before = a.clone();
      b.add_(1);
      EXPECT_TRUE(a.equal(before)) << item.key();
      b.copy_(before);
    }
  };
  compare(source.named_parameters(), clone.named_parameters());
  compare(source.named_buffers(), clone.named_buffers());
  const auto modules = source.named_modules("", false), copies = clone.named_modules("", false);
  ASSERT_EQ(modules.keys(), copies.keys());
  for (const auto& item : modules) {
    EXPECT_NE(item.value(), copies[item.key()]);
    EXPECT_EQ(item.value()->is_training(), copies[item.key()]->is_training());
    EXPECT_EQ(typeid(*item.value()), typeid(*copies[item.key()]));
  }
}

/// Clones a module, and expects that the clone refers to no tensor and no module of the source: what it forgot to
/// rebind would be in use once more.
template <class Net>
Net expect_forgets_nothing(const Net& source) {
  const auto uses = [&] {
    std::vector<std::pair<std::string, std::size_t>> result;
    for (const auto& item : source->named_parameters()) result.emplace_back(item.key(), item.value().use_count());
    for (const auto& item : source->named_buffers()) result.emplace_back(item.key(), item.value().use_count());
    for (const auto& item : source->named_modules("", false)) result.emplace_back(item.key(), item.value().use_count());
    return result;
  };
  const auto before = uses();
  const Net clone = ramet::clone(source);
  EXPECT_EQ(before, uses()) << source->name();
  expect_twins(*source, *clone);
  return clone;
}

}  // namespace ramet
