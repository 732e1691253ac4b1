/// Memory for the blocks of a plan, and the bytes in it: all are copied at the end, by all threads.
#include <ATen/ops/empty.h>
#include <c10/core/CPUAllocator.h>
#include <ramet/arena.h>

#include "core/copies.h"
#include "core/fetch.h"
#include "core/lazy.h"
#include "core/slices.h"
#include "core/transfers.h"

namespace ramet::core {
namespace {

/// Asks the processor for what filling the next blocks will read.
void fetch_ahead(const Plan& plan, std::size_t block) {
  if (block + 8 >= plan.blocks.size()) return;
  fetch_lines<2>(plan.blocks[block + 8].source);
}

c10::Storage storage_over(c10::DataPtr memory, int64_t bytes) {
  return c10::Storage(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), bytes,
                                                            std::move(memory), c10::GetCPUAllocator(),
                                                            /*resizable=*/true));
}

c10::Storage fill_plain(const Plan& plan, const Block& block, Packer& packer, Copies& copies) {
  Slice slice = packer.slice(block.bytes);
  const auto* source = static_cast<const char*>(block.source->data());
  for (uint32_t i = block.first; i < block.first + block.count; ++i) {
    const Range& range = plan.ranges[i];
    copies.add(static_cast<char*>(slice.memory.get()) + range.at, source + range.begin, range.end - range.begin,
               slice.warm);
  }
  return storage_over(std::move(slice.memory), block.bytes);
}

/// Whether a block is bytes in the machine's own memory, copied as they are.
bool is_plain(const Block& block) {
  return block.device.is_cpu() && block.source->device().is_cpu() && block.from == block.to;
}

/// A tensor of one dimension over the items of a storage.
at::Tensor items(const c10::Storage& storage, at::ScalarType dtype) {
  const auto count = static_cast<int64_t>(storage.nbytes() / c10::elementSize(dtype));
  return at::empty({0}, at::TensorOptions().dtype(dtype).device(storage.device())).set_(storage, 0, {count}, {1});
}

/// What goes to or comes from a device other than the CPU, or changes its dtype.
c10::Storage fill_converted(const Plan& plan, const Block& block, Packer& packer, std::vector<Transfer>& transfers) {
  const auto from_size = static_cast<int64_t>(c10::elementSize(block.from));
  const auto to_size = static_cast<int64_t>(c10::elementSize(block.to));
  const c10::Storage result =
      block.device.is_cpu()
          ? storage_over(packer.slice(block.bytes).memory, block.bytes)
          : at::empty({block.bytes}, at::TensorOptions().dtype(at::kByte).device(block.device)).storage();
  if (block.device.is_meta()) return result;
  const at::Tensor source =
      items(c10::Storage(c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(block.source)), block.from);
  const at::Tensor target = items(result, block.to);
  for (uint32_t i = block.first; i < block.first + block.count; ++i) {
    const Range& range = plan.ranges[i];
    const int64_t begin = range.begin / from_size, end = range.end / from_size, at = range.at / to_size;
    transfers.push_back({target.slice(0, at, at + end - begin), source.slice(0, begin, end)});
  }
  return result;
}

}  // namespace

std::vector<c10::Storage> fill(const Plan& plan, std::size_t n) {
  std::vector<std::size_t> cut;
  for (const Block& block : plan.blocks) {
    if (!block.lazy && block.device.is_cpu()) cut.push_back(block.bytes);
  }
  const std::vector<std::size_t> sizes = Packer::chunk_sizes(cut);
  std::vector<c10::Storage> result;
  result.reserve(n * plan.blocks.size());
  Copies copies;
  std::vector<Transfer> transfers;
  for (std::size_t i = 0; i < n; ++i) {
    Packer packer(sizes);
    for (std::size_t b = 0; b < plan.blocks.size(); ++b) {
      fetch_ahead(plan, b);
      const Block& block = plan.blocks[b];
      result.push_back(block.lazy        ? lazy_clone(*block.source)
                       : is_plain(block) ? fill_plain(plan, block, packer, copies)
                                         : fill_converted(plan, block, packer, transfers));
    }
  }
  copies.run();
  transfer(transfers);
  return result;
}

}  // namespace ramet::core
