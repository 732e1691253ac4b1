/// A launch or a transfer costs microseconds, however little it moves. So small pieces are gathered: those for a device
/// in staging memory of the CPU, whence one copy takes them to scratch memory of the device, where `_foreach_copy_`
/// distributes and converts them; those from a device the same way back.
#include "core/transfers.h"

#include <ATen/Context.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <map>

#include "core/copies.h"

namespace ramet::core {
namespace {

constexpr int64_t staging = int64_t{32} << 20, large = int64_t{1} << 20, alignment = 64;

int64_t bytes_of(const at::Tensor& items) { return static_cast<int64_t>(items.nbytes()); }

at::Tensor memory_on(at::Device device, int64_t bytes) {
  return at::empty({bytes}, at::TensorOptions().dtype(at::kByte).device(device));
}

/// Memory of the CPU that `device` reads and writes by itself, or plain memory where there is none such.
at::Tensor staged(int64_t bytes, at::Device device) {
  if (at::isAccelerator(device.type()) && at::getAccelerator() == device.type()) {
    try {
      return at::empty({bytes}, at::TensorOptions().dtype(at::kByte).pinned_memory(true));
    } catch (const c10::Error&) {  // the device knows none, or has no more of it
    }
  }
  return memory_on(at::kCPU, bytes);
}

/// Copies within one device, or between two that are not the CPU: one launch for many of a kind.
class Launch {
 public:
  void add(const at::Tensor& to, const at::Tensor& from) {
    auto& [tos, froms] = kinds_[{to.device().str(), from.device().str(), to.scalar_type(), from.scalar_type()}];
    tos.push_back(to);
    froms.push_back(from);
  }

  void run() {
    for (auto& [kind, lists] : kinds_) at::_foreach_copy_(lists.first, lists.second);
    kinds_.clear();
  }

 private:
  using Kind = std::tuple<std::string, std::string, at::ScalarType, at::ScalarType>;
  std::map<Kind, std::pair<std::vector<at::Tensor>, std::vector<at::Tensor>>> kinds_;
};

/// Transfers between the CPU and one device that share staging memory.
class Batch {
 public:
  Batch(at::Device to, at::Device from, bool gathered) : to(to), from(from), gathered(gathered) {}

  /// What is staged is what the CPU has: the device converts what it gets and what it gives.
  void add(const at::Tensor& part_to, const at::Tensor& part_from) {
    const int64_t room = (bytes_of(outward() ? part_from : part_to) + alignment - 1) / alignment * alignment;
    if (bytes_ + room > staging) run();
    parts_.push_back({part_to, part_from, bytes_});
    bytes_ += room;
  }

  void run() {
    if (parts_.empty()) return;
    outward() ? send() : fetch();
    parts_.clear();
    bytes_ = 0;
  }

  const at::Device to, from;
  const bool gathered;  ///< Through scratch memory of the device.

 private:
  struct Part {
    at::Tensor to, from;
    int64_t at;  ///< In the staging memory.
  };

  bool outward() const { return from.is_cpu(); }

  /// The bytes of `memory` that are a part's, as items of `like`.
  static at::Tensor items(const at::Tensor& memory, int64_t at, const at::Tensor& like) {
    return memory.slice(0, at, at + bytes_of(like)).view(like.scalar_type());
  }

  void send() const {
    const at::Tensor host = staged(bytes_, to);
    auto* const bytes = static_cast<char*>(host.mutable_data_ptr());
    Copies copies;
    for (const Part& part : parts_) {
      copies.add(bytes + part.at, static_cast<const char*>(part.from.const_data_ptr()), part.from.nbytes(), true);
    }
    copies.run();
    // The allocator of pinned memory does not reuse it before the copies from it are done.
    const bool pinned = host.is_pinned();
    if (!gathered) {
      for (const Part& part : parts_) part.to.copy_(items(host, part.at, part.from), pinned);
      return;
    }
    const at::Tensor landed = memory_on(to, bytes_).copy_(host, pinned);
    Launch launch;
    for (const Part& part : parts_) launch.add(part.to, items(landed, part.at, part.from));
    launch.run();
  }

  void fetch() const {
    const at::Tensor host = staged(bytes_, from);
    if (gathered) {
      const at::Tensor leaving = memory_on(from, bytes_);
      Launch launch;
      for (const Part& part : parts_) launch.add(items(leaving, part.at, part.to), part.from);
      launch.run();
      host.copy_(leaving);
    } else {
      for (const Part& part : parts_) items(host, part.at, part.to).copy_(part.from);
    }
    Copies copies;
    for (const Part& part : parts_) {
      const auto* bytes = static_cast<const char*>(host.const_data_ptr()) + part.at;
      copies.add(static_cast<char*>(part.to.mutable_data_ptr()), bytes, part.to.nbytes(), false);
    }
    copies.run();
  }

  std::vector<Part> parts_;
  int64_t bytes_ = 0;
};

/// The batch for transfers like this one.
Batch& batch_for(std::vector<Batch>& batches, at::Device to, at::Device from, bool gathered) {
  for (Batch& batch : batches) {
    if (batch.to == to && batch.from == from && batch.gathered == gathered) return batch;
  }
  return batches.emplace_back(to, from, gathered);
}

/// Adds a transfer between the CPU and a device, in parts that staging memory has room for.
void add(std::vector<Batch>& batches, const Transfer& it) {
  const bool converts = it.to.scalar_type() != it.from.scalar_type();
  const int64_t size = bytes_of(it.from.is_cpu() ? it.from : it.to), count = it.to.numel();
  const int64_t step = size <= staging ? count : staging / (size / count);
  Batch& batch = batch_for(batches, it.to.device(), it.from.device(), converts || size < large);
  for (int64_t i = 0; i < count; i += step) {
    const int64_t end = std::min(i + step, count);
    batch.add(it.to.slice(0, i, end), it.from.slice(0, i, end));
  }
}

}  // namespace

void transfer(const std::vector<Transfer>& transfers) {
  std::vector<Batch> batches;
  Launch launch;
  for (const Transfer& it : transfers) {
    if (it.to.is_cpu() != it.from.is_cpu()) {
      add(batches, it);
    } else if (it.to.is_cpu() || bytes_of(it.to) >= large) {
      it.to.copy_(it.from);
    } else {
      launch.add(it.to, it.from);
    }
  }
  launch.run();
  for (Batch& batch : batches) batch.run();
}

}  // namespace ramet::core
