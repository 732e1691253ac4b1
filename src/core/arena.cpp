/// Memory for the blocks of a plan: one allocation a block, filled by memcpy, or on a device by copies of its own.
#include <ATen/ops/empty.h>
#include <c10/core/CPUAllocator.h>
#include <ramet/arena.h>

#include <cstring>

namespace ramet::core {
namespace {

c10::Storage fill_on_cpu(const Plan& plan, const Block& block) {
  c10::Allocator* allocator = c10::GetCPUAllocator();
  c10::DataPtr memory = allocator->allocate(block.bytes);
  const auto* source = static_cast<const char*>(block.source->data());
  for (uint32_t i = block.first; i < block.first + block.count; ++i) {
    const Range& range = plan.ranges[i];
    if (range.end == range.begin) continue;
    std::memcpy(static_cast<char*>(memory.get()) + range.at, source + range.begin, range.end - range.begin);
  }
  return c10::Storage(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), block.bytes,
                                                            std::move(memory), allocator, /*resizable=*/true));
}

c10::Storage fill_on_device(const Plan& plan, const Block& block) {
  const auto options = at::TensorOptions().dtype(at::kByte).device(block.device);
  at::Tensor source = at::empty({0}, options);
  source.set_(c10::Storage(c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(block.source)));
  at::Tensor target = at::empty({block.bytes}, options);
  for (uint32_t i = block.first; i < block.first + block.count; ++i) {
    const Range& range = plan.ranges[i];
    target.slice(0, range.at, range.at + range.end - range.begin).copy_(source.slice(0, range.begin, range.end));
  }
  return target.storage();
}

}  // namespace

std::vector<c10::Storage> fill(const Plan& plan, std::size_t n) {
  std::vector<c10::Storage> result;
  result.reserve(n * plan.blocks.size());
  for (std::size_t i = 0; i < n; ++i) {
    for (const Block& block : plan.blocks) {
      result.push_back(block.device.is_cpu() ? fill_on_cpu(plan, block) : fill_on_device(plan, block));
    }
  }
  return result;
}

}  // namespace ramet::core
