#include "memory_limit.h"

#include <ATen/Parallel.h>

#include <cstring>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace ramet::bench {
namespace {

void by_memcpy(char* to, const char* from, std::size_t bytes) { std::memcpy(to, from, bytes); }

#ifdef __x86_64__

void by_16(char* to, const char* from, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += 16) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + i), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
  }
  _mm_sfence();
}

__attribute__((target("avx2"))) void by_32(char* to, const char* from, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += 32) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i),
                        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i)));
  }
  _mm_sfence();
}

__attribute__((target("avx512f"))) void by_64(char* to, const char* from, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += 64) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i), _mm512_loadu_si512(from + i));
  }
  _mm_sfence();
}

#endif

}  // namespace

std::vector<WayToCopy> ways_to_copy() {
  std::vector<WayToCopy> result{{"memcpy", &by_memcpy}};
#ifdef __x86_64__
  result.push_back({"stores of 16 bytes", &by_16});
  if (__builtin_cpu_supports("avx2")) result.push_back({"stores of 32 bytes", &by_32});
  if (__builtin_cpu_supports("avx512f")) result.push_back({"stores of 64 bytes", &by_64});
#endif
  return result;
}

void copy_in_parallel(const WayToCopy& way, char* to, const char* from, std::size_t bytes) {
  constexpr int64_t page = 4096;
  at::parallel_for(0, static_cast<int64_t>(bytes) / page, 64, [&](int64_t begin, int64_t end) {
    way.copy(to + begin * page, from + begin * page, (end - begin) * page);
  });
}

}  // namespace ramet::bench
