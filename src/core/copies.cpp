/// Copies are cut at the huge pages of their targets, so that no two threads fault on the same one, and put together in
/// units of about one huge page, of which threads take the next as each gets done with one: where other work shares the
/// processors, an even division would wait for the slowest.
#include "core/copies.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "core/streaming.h"

namespace ramet::core {
namespace {

constexpr std::size_t huge_page = std::size_t{2} << 20, unit = huge_page, overhead = 256, least_to_stream = 4096;

void copy(char* to, const char* from, std::size_t bytes, bool warm) {
  if (warm && bytes >= least_to_stream) {
    copy_streaming(to, from, bytes);
  } else {
    std::memcpy(to, from, bytes);
  }
}

}  // namespace

void Copies::add(char* to, const char* from, std::size_t bytes, bool warm) {
  while (bytes > 0) {
    const std::size_t left_in_page = huge_page - reinterpret_cast<std::uintptr_t>(to) % huge_page;
    const std::size_t part = bytes < 2 * huge_page ? bytes : left_in_page;
    copies_.push_back({to, from, part, warm});
    cost_ += part + overhead;
    if (cost_ >= unit) end_unit();
    to += part, from += part, bytes -= part;
  }
}

void Copies::run() {
  if (cost_ > 0) end_unit();
  std::atomic<std::size_t> next{0};
  const auto work = [&](int64_t, int64_t) {
    for (std::size_t i = next++; i < units_.size(); i = next++) {
      for (std::size_t k = i == 0 ? 0 : units_[i - 1]; k < units_[i]; ++k) {
        const Copy& it = copies_[k];
        copy(it.to, it.from, it.bytes, it.warm);
      }
    }
  };
  const auto threads = std::min<std::size_t>(at::get_num_threads(), units_.size());
  at::parallel_for(0, static_cast<int64_t>(threads), 1, work);
}

void Copies::end_unit() {
  units_.push_back(copies_.size());
  cost_ = 0;
}

}  // namespace ramet::core
