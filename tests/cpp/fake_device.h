/// A device for machines that have none: torch's PrivateUse1, whose memory the processor cannot reach.
///
/// Include it in one source of a program: it registers the device with torch, for the whole process.
#pragma once

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <cstdlib>
#include <cstring>
#include <set>

namespace ramet::fake_device {

inline const at::Device device{at::kPrivateUse1, 0};

/// What the device was asked to do, and what of it still stands.
struct Counts {
  int transfers = 0;    ///< Copies between it and the CPU.
  int from_pinned = 0;  ///< Of these, those without waiting.
  int launches = 0;     ///< Copies within it; one for a whole list.
  int64_t in_use = 0;   ///< Pieces of its memory.
  int64_t allocated = 0;
  int64_t fail_at = -1;  ///< The allocation, counted from now on, that fails.
};
inline Counts counts;

/// What the processor would touch instead of the device's memory: no address at all.
inline constexpr std::ptrdiff_t away = std::ptrdiff_t{1} << 56;

class DeviceMemory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes == 0) return {nullptr, device};
    TORCH_CHECK_WITH(OutOfMemoryError, counts.fail_at != 0, "the device has no more memory");
    if (counts.fail_at > 0) --counts.fail_at;
    auto* data = static_cast<char*>(std::malloc(bytes)) + away;
    ++counts.in_use;
    return {data, data, &free, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    std::memcpy(static_cast<char*>(to) - away, static_cast<const char*>(from) - away, bytes);
  }

 private:
  static void free(void* data) {
    --counts.in_use;
    std::free(static_cast<char*>(data) - away);
  }
};
inline DeviceMemory device_memory;

class PinnedMemory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    TORCH_CHECK(there, "no memory can be pinned");
    void* data = std::malloc(bytes);
    pinned.insert(data);
    return {data, data, &free, at::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { std::memcpy(to, from, bytes); }

  bool there = true;
  static inline std::set<const void*> pinned;

 private:
  static void free(void* data) {
    pinned.erase(data);
    std::free(data);
  }
};
inline PinnedMemory pinned_memory;

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  at::Allocator* getPinnedMemoryAllocator() const override { return &pinned_memory; }
  bool isPinnedPtr(const void* data) const override { return PinnedMemory::pinned.contains(data); }
};

/// The same tensor, where the processor can read and write it.
inline at::Tensor within_reach(const at::Tensor& tensor) {
  if (tensor.is_cpu()) return tensor;
  void* data = const_cast<void*>(tensor.const_data_ptr());
  if (data != nullptr) data = static_cast<char*>(data) - away;
  return at::from_blob(data, tensor.sizes(), tensor.strides(), tensor.options().device(at::kCPU));
}

inline at::Tensor empty(at::IntArrayRef sizes, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                        std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::Tensor(at::detail::empty_generic(sizes, &device_memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                              dtype.value_or(at::kFloat), format));
}

inline at::Tensor empty_strided(at::IntArrayRef sizes, at::IntArrayRef strides, std::optional<at::ScalarType> dtype,
                                std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::Tensor(at::detail::empty_strided_generic(
      sizes, strides, &device_memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), dtype.value_or(at::kFloat)));
}

inline at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool non_blocking) {
  if (from.device() == to.device()) {
    ++counts.launches;
  } else {
    ++counts.transfers;
    counts.from_pinned += non_blocking;
  }
  within_reach(to).copy_(within_reach(from));
  return to;
}

inline void copy_each(at::TensorList to, at::TensorList from, bool) {
  ++counts.launches;
  for (std::size_t i = 0; i < to.size(); ++i) within_reach(to[i]).copy_(within_reach(from[i]));
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("_copy_from", copy_from);
  library.impl("_foreach_copy_", copy_each);
  library.impl("set_.source_Storage_storage_offset", at::native::set_storage_cpu_);
  library.impl("as_strided", at::native::as_strided_tensorimpl);
  library.impl("view", at::native::view);
}

inline const bool registered = [] {
  static Hooks hooks;
  c10::register_privateuse1_backend("fake");
  at::RegisterPrivateUse1HooksInterface(&hooks);
  c10::SetAllocator(at::kPrivateUse1, &device_memory);
  static const c10::impl::DeviceGuardImplRegistrar guard(at::kPrivateUse1,
                                                         new c10::impl::NoOpDeviceGuardImpl<at::kPrivateUse1>());
  return true;
}();

}  // namespace ramet::fake_device
