/// Clones that go to, come from and stay on a device other than the CPU, in few copies: on a device made for the test,
/// since its copies can be counted, and the same on CUDA where there is one.
#include <gtest/gtest.h>
#include <ramet/materialize.h>

#include "fake_device.h"
#include "hand_made.h"

namespace ramet::core {
namespace {

using fake_device::counts;

constexpr int64_t mib = 1 << 20;

struct Moved {
  std::optional<at::Device> device;
  std::optional<at::ScalarType> dtype;
};

std::vector<at::Tensor> cloned(const std::vector<at::Tensor>& tensors, const Moved& moved) {
  std::vector<std::pair<std::string, at::Tensor>> named;
  for (const at::Tensor& tensor : tensors) named.emplace_back(std::to_string(named.size()), tensor);
  const HandMade made = flat(named);
  Rules rules;
  rules.device = moved.device;
  rules.dtype = moved.dtype;
  return materialize(made.graph, plan(made.graph, catalog(made.graph), rules), 1)[0];
}

/// A thousand small tensors, some larger than any staging memory, a view, odd strides, and one without elements.
std::vector<at::Tensor> sources() {
  std::vector<at::Tensor> result;
  for (int i = 0; i < 1000; ++i) result.push_back(at::rand({i % 7 + 1, 5}));
  result.push_back(at::rand({9 * mib}));
  result.push_back(at::rand({3 * mib + 1}));
  result.push_back(at::randint(100, {3 * mib}, at::kInt));
  result.push_back(result[1000].slice(0, 5, 25).view({4, 5}).t());
  result.push_back(at::rand({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast));
  result.push_back(at::empty({0, 3}));
  result.push_back(at::rand({64, 64}, at::kHalf));
  return result;
}

std::vector<at::Tensor> on(at::Device device, std::vector<at::Tensor> tensors) {
  return cloned(tensors, {device, std::nullopt});
}

void expect_like(const std::vector<at::Tensor>& clones, const std::vector<at::Tensor>& sources, at::Device device,
                 std::optional<at::ScalarType> dtype = std::nullopt) {
  ASSERT_EQ(clones.size(), sources.size());
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const auto wanted = dtype && sources[i].is_floating_point() ? sources[i].to(*dtype) : sources[i];
    EXPECT_EQ(clones[i].device(), device);
    EXPECT_EQ(clones[i].scalar_type(), wanted.scalar_type());
    EXPECT_EQ(clones[i].strides(), sources[i].strides());
    EXPECT_TRUE(at::equal(clones[i].cpu(), wanted.cpu())) << i;
  }
  EXPECT_TRUE(clones[1003].storage().is_alias_of(clones[1000].storage()));
}

class DeviceTest : public testing::Test {
 protected:
  DeviceTest() { counts = {.in_use = counts.in_use}; }
  ~DeviceTest() override {
    fake_device::pinned_memory.there = true;
    EXPECT_EQ(counts.in_use, 0);
    EXPECT_TRUE(fake_device::PinnedMemory::pinned.empty());
  }
};

TEST_F(DeviceTest, WhatGoesThereTakesFewTransfersAndOneLaunch) {
  const auto from = sources();
  const auto clones = cloned(from, {fake_device::device, std::nullopt});
  // Small ones together; of the large ones, 36 MiB take two parts, and the other two one each.
  EXPECT_EQ(counts.transfers, 1 + 2 + 1 + 1);
  EXPECT_EQ(counts.from_pinned, counts.transfers);
  EXPECT_LE(counts.launches, 3);
  expect_like(clones, from, fake_device::device);
}

TEST_F(DeviceTest, WhatComesFromThereTakesFewTransfersAndOneLaunch) {
  const auto from = sources();
  const auto there = on(fake_device::device, from);
  counts = {.in_use = counts.in_use};
  const auto back = cloned(there, {at::kCPU, std::nullopt});
  EXPECT_EQ(counts.transfers, 1 + 2 + 1 + 1);
  EXPECT_LE(counts.launches, 3);
  expect_like(back, from, at::kCPU);
}

TEST_F(DeviceTest, WhatStaysThereNeverComesToTheCpu) {
  const auto from = sources();
  const auto there = on(fake_device::device, from);
  counts = {.in_use = counts.in_use};
  const auto clones = cloned(there, {});
  EXPECT_EQ(counts.transfers, 0);
  EXPECT_LE(counts.launches, 3 + 3);
  expect_like(clones, from, fake_device::device);
  EXPECT_FALSE(clones[0].is_alias_of(there[0]));
}

TEST_F(DeviceTest, ItConvertsOnItsSide) {
  const auto from = sources();
  const auto clones = cloned(from, {fake_device::device, at::kHalf});
  EXPECT_LE(counts.transfers, 8);
  expect_like(clones, from, fake_device::device, at::kHalf);
  const auto back = cloned(clones, {at::kCPU, at::kDouble});
  expect_like(back, clones, at::kCPU, at::kDouble);
  const auto same = cloned(clones, {std::nullopt, at::kFloat});
  expect_like(same, clones, fake_device::device, at::kFloat);
}

TEST_F(DeviceTest, WithoutPinnedMemoryItIsCopiedAllTheSame) {
  fake_device::pinned_memory.there = false;
  const auto from = sources();
  expect_like(cloned(from, {fake_device::device, std::nullopt}), from, fake_device::device);
  EXPECT_EQ(counts.from_pinned, 0);
}

TEST_F(DeviceTest, AWriteToOneSideStaysThere) {
  const at::Tensor source = at::zeros({4});
  const at::Tensor there = cloned({source}, {fake_device::device, std::nullopt})[0];
  const at::Tensor twin = cloned({there}, {})[0];
  source.fill_(1);
  EXPECT_EQ(there.cpu().sum().item<float>(), 0);
  twin.copy_(source);
  EXPECT_EQ(there.cpu().sum().item<float>(), 0);
}

TEST_F(DeviceTest, WhereItsMemoryEndsItIsAnErrorThatLeavesNothing) {
  const std::vector<at::Tensor> from{at::rand({10}), at::rand({mib}), at::rand({20})};
  for (int64_t k = 0;; ++k) {
    counts.fail_at = k;
    try {
      const auto clones = cloned(from, {fake_device::device, std::nullopt});
      counts.fail_at = -1;
      EXPECT_TRUE(at::equal(clones[1].cpu(), from[1]));
      EXPECT_GE(k, 3);
      break;
    } catch (const c10::OutOfMemoryError&) {
      EXPECT_EQ(counts.in_use, 0);
    }
  }
}

TEST_F(DeviceTest, OnCudaToo_CUDA) {
  if (!at::hasCUDA() && std::getenv("FAIL_WITHOUT_CUDA") == nullptr) GTEST_SKIP() << "needs a CUDA device";
  const at::Device cuda(at::kCUDA, 0);
  const auto from = sources();
  const auto there = on(cuda, from);
  expect_like(there, from, cuda);
  expect_like(cloned(there, {}), from, cuda);
  expect_like(cloned(there, {at::kCPU, std::nullopt}), from, at::kCPU);
  expect_like(cloned(from, {cuda, at::kHalf}), from, cuda, at::kHalf);
}

}  // namespace
}  // namespace ramet::core
